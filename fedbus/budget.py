class Budget: pass
