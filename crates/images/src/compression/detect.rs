//! Reading: the format is found in the first bytes, whatever a name or media type says.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use super::Compression;

/// Enough bytes to tell the formats apart.
const MAGIC: usize = 6;

/// Memory that an xz stream may ask for; its highest preset needs 65 MiB.
const XZ_MEMORY_LIMIT: u64 = 256 << 20;

/// Which compression a stream that begins with `start` has; what is none of the known is
/// [`Compression::Identity`].
#[must_use]
pub fn detect(start: &[u8]) -> Compression {
    match start {
        [0x1f, 0x8b, 0x08, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        // A skippable frame, as seekable zstd layers may begin.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        _ => Compression::Identity,
    }
}

type Peeked<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// A stream without its compression; see [`decompress`].
pub struct Decompressor<R: Read> {
    compression: Compression,
    inner: Inner<R>,
}

enum Inner<R: Read> {
    Identity(Peeked<R>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<Peeked<R>>>),
    Zstd(Box<zstd::Decoder<'static, Peeked<R>>>),
    Bzip2(Box<bzip2::bufread::MultiBzDecoder<Peeked<R>>>),
    Xz(Box<liblzma::bufread::XzDecoder<Peeked<R>>>),
}

/// Takes the compression off `reader`, whichever of the known it is. Memory is bounded by the
/// windows of the formats (at most 256 MiB, for xz).
pub fn decompress<R: Read>(mut reader: R) -> io::Result<Decompressor<R>> {
    let mut start = Vec::with_capacity(MAGIC);
    reader.by_ref().take(MAGIC as u64).read_to_end(&mut start)?;
    let compression = detect(&start);
    let buffered = BufReader::with_capacity(128 * 1024, Cursor::new(start).chain(reader));
    let inner = match compression {
        Compression::Identity => Inner::Identity(buffered),
        Compression::Gzip => Inner::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(buffered))),
        Compression::Zstd => Inner::Zstd(Box::new(zstd::Decoder::with_buffer(buffered)?)),
        Compression::Bzip2 => Inner::Bzip2(Box::new(bzip2::bufread::MultiBzDecoder::new(buffered))),
        Compression::Xz => Inner::Xz(Box::new(xz_decoder(buffered)?)),
    };
    Ok(Decompressor { compression, inner })
}

fn xz_decoder<R: BufRead>(reader: R) -> io::Result<liblzma::bufread::XzDecoder<R>> {
    let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_LIMIT, liblzma::stream::CONCATENATED)
        .map_err(io::Error::other)?;
    Ok(liblzma::bufread::XzDecoder::new_stream(reader, stream))
}

impl<R: Read> Decompressor<R> {
    /// What the stream was found to be compressed with.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The compressed stream.
    pub(crate) fn get_ref(&self) -> &R {
        let buffered = match &self.inner {
            Inner::Identity(reader) => reader,
            Inner::Gzip(reader) => reader.get_ref(),
            Inner::Zstd(reader) => reader.get_ref(),
            Inner::Bzip2(reader) => reader.get_ref(),
            Inner::Xz(reader) => reader.get_ref(),
        };
        buffered.get_ref().get_ref().1
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Identity(reader) => reader.read(buffer),
            Inner::Gzip(reader) => reader.read(buffer),
            Inner::Zstd(reader) => reader.read(buffer),
            Inner::Bzip2(reader) => reader.read(buffer),
            Inner::Xz(reader) => reader.read(buffer),
        }
    }
}
