class Budget:
    pass
