set -e
python3 - <<'P'
import tarfile
t=tarfile.open('a.tar','w')
i=tarfile.TarInfo('x');i.type=tarfile.LNKTYPE;i.linkname='../s';t.addfile(i)
t.close()
P