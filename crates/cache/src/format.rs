//! How a layer's blob was packed, as a word that travels: whoever packs the same layer the same way gets the same
//! bytes, and so need not pack it.

use kiln_images::compression::Format;

/// The word for blobs that this kiln packs.
pub(crate) fn word(format: Format) -> String {
    let compression = match format {
        Format::Uncompressed => "tar".to_owned(),
        Format::Gzip { level } => format!("gzip-{level}"),
        Format::Zstd { level } => format!("zstd-{level}"),
    };
    format!("kiln-{} {compression}", env!("CARGO_PKG_VERSION"))
}

/// The format, if a kiln of this version packed it.
pub(crate) fn parse(word: &str) -> Option<Format> {
    let compression = word.strip_prefix("kiln-")?.strip_prefix(env!("CARGO_PKG_VERSION"))?.strip_prefix(' ')?;
    match compression.split_once('-') {
        None if compression == "tar" => Some(Format::Uncompressed),
        Some(("gzip", level)) => {
            level.parse().ok().filter(|level| (1..=12).contains(level)).map(|level| Format::Gzip { level })
        }
        Some(("zstd", level)) => {
            level.parse().ok().filter(|level| (1..=22).contains(level)).map(|level| Format::Zstd { level })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_come_back_from_their_words() {
        for format in [Format::Uncompressed, Format::GZIP, Format::ZSTD] {
            assert_eq!(parse(&word(format)), Some(format));
        }
        let own = env!("CARGO_PKG_VERSION");
        for other in ["", "gzip-4", "kiln-0.0.0 gzip-4", &format!("kiln-{own} gzip-99"), &format!("kiln-{own} lzma-1")]
        {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
