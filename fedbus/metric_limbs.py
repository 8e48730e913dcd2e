import numpy as np
LIMBS=5
def encode(values):
    out=[]
    for v in values:
        i=round(v*2**24)
        if not 0<=i<2**80: raise ArithmeticError
        out+=[(i>>(16*j))&0xffff for j in range(LIMBS)]
    return np.array(out,dtype=np.int64)
def decode(s):
    s=[int(x) for x in s]
    return [sum(s[k+j]<<(16*j) for j in range(LIMBS))/2**24 for k in range(0,len(s),LIMBS)]
