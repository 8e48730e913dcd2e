class Server:
    @classmethod
    def create(cls,strategy,size): return cls()
    def arrays(self): return {}
    def restore(self,a): pass
    def step(self,w,avg):
        for s,p in avg: w[s:s+len(p)]=w[s:s+len(p)].astype('f8')+p
