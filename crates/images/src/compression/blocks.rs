//! Writing: the stream is cut into blocks of fixed size, each becomes a gzip member or zstd frame
//! of its own, and they are written in order. Readers see one stream.
//!
//! Memory is bounded: hardly more blocks than threads are under way at once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, sync_channel};

use super::Format;
use crate::workers::pool;

/// Bytes of input that become one gzip member.
const GZIP_BLOCK: usize = 1 << 20;
/// Bytes of input that become one zstd frame: its matches reach further back.
const ZSTD_BLOCK: usize = 2 << 20;
/// Blocks beyond one a thread that wait for their turn to be written.
const WAITING: usize = 2;

/// Compresses what is written to it on its way to `W`. [`CompressedWriter::finish`] must be called.
pub struct CompressedWriter<W: Write> {
    inner: W,
    format: Format,
    block: Vec<u8>,
    /// Whether anything was handed to the compressor, so that empty input is a valid stream too.
    started: bool,
    under_way: VecDeque<Receiver<io::Result<Vec<u8>>>>,
}

impl<W: Write> CompressedWriter<W> {
    /// Compresses to `inner` in `format`.
    pub fn new(inner: W, format: Format) -> CompressedWriter<W> {
        CompressedWriter { inner, format, block: Vec::new(), started: false, under_way: VecDeque::new() }
    }

    /// Compresses what is left and returns the stream behind, not flushed.
    pub fn finish(mut self) -> io::Result<W> {
        let compresses = self.format != Format::Uncompressed;
        if compresses && (!self.block.is_empty() || !self.started) {
            self.start_block()?;
        }
        while self.write_oldest()? {}
        Ok(self.inner)
    }

    fn block_size(&self) -> usize {
        match self.format {
            Format::Zstd { .. } => ZSTD_BLOCK,
            _ => GZIP_BLOCK,
        }
    }

    /// Hands the full block to the pool; waits for the oldest one if too many are under way.
    fn start_block(&mut self) -> io::Result<()> {
        let pool = pool()?;
        while self.under_way.len() >= pool.current_num_threads() + WAITING {
            self.write_oldest()?;
        }
        let block = std::mem::take(&mut self.block);
        let format = self.format;
        let (sender, receiver) = sync_channel(1);
        pool.spawn(move || {
            // The receiver is gone only if the writer was given up.
            let _ = sender.send(compress_block(format, &block));
        });
        self.under_way.push_back(receiver);
        self.started = true;
        Ok(())
    }

    /// Writes the oldest block that is under way; false if there is none.
    fn write_oldest(&mut self) -> io::Result<bool> {
        let Some(receiver) = self.under_way.pop_front() else {
            return Ok(false);
        };
        let gone = |_| io::Error::other("a compressing thread ended early");
        let compressed = receiver.recv().map_err(gone)??;
        self.inner.write_all(&compressed)?;
        Ok(true)
    }
}

impl<W: Write> Write for CompressedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.format == Format::Uncompressed {
            return self.inner.write(bytes);
        }
        let size = self.block_size();
        if self.block.is_empty() {
            self.block.reserve_exact(size.min(bytes.len().max(64 * 1024)));
        }
        let count = bytes.len().min(size - self.block.len());
        self.block.extend_from_slice(bytes.get(..count).unwrap_or_default());
        if self.block.len() == size {
            self.start_block()?;
        }
        Ok(count)
    }

    /// Does nothing to the blocks: where they end must not depend on who flushes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn compress_block(format: Format, block: &[u8]) -> io::Result<Vec<u8>> {
    match format {
        Format::Uncompressed => Ok(block.to_vec()),
        Format::Gzip { level } => gzip_member(block, level),
        Format::Zstd { level } => zstd_frame(block, level),
    }
}

thread_local! {
    /// The thread's compressors with their levels: their tables take longer to make than to use again.
    static GZIP: RefCell<Option<(i32, libdeflater::Compressor)>> = const { RefCell::new(None) };
    static ZSTD: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(None) };
}

/// Runs `compress` with the thread's compressor of this level.
fn with_kept<C, T>(
    slot: &RefCell<Option<(i32, C)>>,
    level: i32,
    make: impl FnOnce() -> io::Result<C>,
    compress: impl FnOnce(&mut C) -> io::Result<T>,
) -> io::Result<T> {
    let kept = slot.borrow_mut().take().filter(|(of, _)| *of == level);
    let mut compressor = kept.map_or_else(make, |(_, compressor)| Ok(compressor))?;
    let result = compress(&mut compressor);
    *slot.borrow_mut() = Some((level, compressor));
    result
}

fn zstd_frame(block: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let make = || zstd::bulk::Compressor::new(level);
    ZSTD.with(|slot| with_kept(slot, level, make, |compressor| compressor.compress(block)))
}

fn gzip_member(block: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let make = || {
        let level = libdeflater::CompressionLvl::new(level)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "gzip levels go from 1 to 12"))?;
        Ok(libdeflater::Compressor::new(level))
    };
    let compress = |compressor: &mut libdeflater::Compressor| {
        let mut member = vec![0; compressor.gzip_compress_bound(block.len())];
        let written = compressor.gzip_compress(block, &mut member);
        member.truncate(written.map_err(|error| io::Error::other(error.to_string()))?);
        Ok(member)
    };
    GZIP.with(|slot| with_kept(slot, level, make, compress))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::{Compression, decompress};
    use super::*;

    /// Compressible but not trivial bytes.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 7_u32;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"abcdefghijklmnop"[(state >> 28) as usize]
        };
        (0..length).map(next).collect()
    }

    fn compress(format: Format, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut writer = CompressedWriter::new(Vec::new(), format);
        for part in bytes.chunks(piece) {
            writer.write_all(part).unwrap();
            writer.flush().unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn round_trips_and_does_not_depend_on_the_pieces_written() {
        for format in [Format::Uncompressed, Format::GZIP, Format::ZSTD] {
            for length in [0, 1, GZIP_BLOCK - 1, GZIP_BLOCK, 2 * ZSTD_BLOCK + 17] {
                let bytes = sample(length);
                let whole = compress(format, &bytes, length.max(1));
                assert_eq!(whole, compress(format, &bytes, 70_001), "{format:?} {length}");
                let mut back = Vec::new();
                decompress(whole.as_slice()).unwrap().read_to_end(&mut back).unwrap();
                assert!(back == bytes, "{format:?} {length}");
            }
        }
    }

    #[test]
    fn what_a_compressor_did_before_does_not_show() {
        let (one, other) = (sample(ZSTD_BLOCK), sample(ZSTD_BLOCK / 3).repeat(2));
        for format in [Format::GZIP, Format::ZSTD, Format::Gzip { level: 9 }, Format::Zstd { level: 19 }] {
            let fresh =
                std::thread::scope(|scope| scope.spawn(|| compress_block(format, &one).unwrap()).join().unwrap());
            compress_block(format, &other).unwrap();
            assert!(compress_block(format, &one).unwrap() == fresh, "{format:?}");
        }
    }

    #[test]
    fn content_tells_the_format() {
        let found = |bytes: &[u8]| decompress(bytes).unwrap().compression();
        assert_eq!(found(&compress(Format::GZIP, b"", 1)), Compression::Gzip);
        assert_eq!(found(&compress(Format::ZSTD, b"", 1)), Compression::Zstd);
        assert_eq!(found(b"BZh91AY&SY"), Compression::Bzip2);
        assert_eq!(found(b"\xfd7zXZ\0"), Compression::Xz);
        assert_eq!(found(b""), Compression::Identity);
        assert_eq!(found(b"\x1f\x8b"), Compression::Identity);
    }

    #[test]
    fn a_truncated_stream_is_an_error() {
        for format in [Format::GZIP, Format::ZSTD] {
            let whole = compress(format, &sample(100_000), 100_000);
            let mut back = Vec::new();
            let cut = &whole[..whole.len() - 10];
            let result = decompress(cut).unwrap().read_to_end(&mut back);
            assert!(result.is_err(), "{format:?}");
        }
    }

    #[test]
    fn the_plain_tools_agree() {
        for (format, tool) in [(Format::GZIP, "gzip"), (Format::ZSTD, "zstd")] {
            let bytes = sample(3 * GZIP_BLOCK);
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), compress(format, &bytes, 1 << 16)).unwrap();
            let input = std::fs::File::open(file.path()).unwrap();
            let run = std::process::Command::new(tool).arg("-dc").stdin(input).output();
            let Ok(output) = run else {
                eprintln!("skipped {tool}: not installed");
                continue;
            };
            assert!(output.status.success() && output.stdout == bytes, "{tool}");
        }
    }
}
