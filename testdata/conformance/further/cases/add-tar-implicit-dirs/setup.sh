set -e
python3 - <<'P'
import tarfile,io
t=tarfile.open('a.tar','w')
for n in ['a/b/c','./d//e','g/']:
  i=tarfile.TarInfo(n);i.size=1;t.addfile(i,io.BytesIO(b'x'))
t.close()
P