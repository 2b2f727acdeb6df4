set -e
python3 - <<'P'
import tarfile,io
t=tarfile.open('a.tar','w')
i=tarfile.TarInfo('real');i.type=tarfile.DIRTYPE;i.mode=0o755;t.addfile(i)
i=tarfile.TarInfo('l');i.type=tarfile.SYMTYPE;i.linkname='real';t.addfile(i)
i=tarfile.TarInfo('l/f');i.size=1;t.addfile(i,io.BytesIO(b'x'))
t.close()
P