//! Files from web servers. What was downloaded is asked for again by its validators (ETag, Last-Modified), so that an
//! unchanged file costs one small request; with a checksum, none.

use std::io::Write;

use kiln_graph::HttpSource;
use kiln_oci::{Digest, Hasher};
use kiln_registry::{WebAnswer, WebError, retries};
use kiln_store::{Hashing, Key, Layer, LayerWriter, LockKey, Metadata, Sharing, Timestamp};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::macros::format_description;

use super::attempts::{Attempts, shown};
use super::net::wait;
use super::{SourceError, SourceKey, Sources, Watch, key_of};

/// The mode of a download.
const MODE: u32 = 0o600;

/// What a server said of a file, and what it was.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    etag: Option<String>,
    last_modified: Option<String>,
    digest: String,
}

impl Sources {
    /// The key of what the address holds now: the bytes, the file's name and its time. With a checksum the network
    /// is not asked.
    pub(super) fn download_key(&self, source: &HttpSource, watch: &Watch<'_>) -> Result<SourceKey, SourceError> {
        match &source.checksum {
            Some(checksum) => Ok(SourceKey { key: checksum_key(source, checksum), fetched: false }),
            None => Ok(self.current(source, watch)?.0),
        }
    }

    /// The layer with what the address holds; from the store if it is there.
    pub(super) fn download(&self, source: &HttpSource, watch: &Watch<'_>) -> Result<Layer, SourceError> {
        if let Some(checksum) = &source.checksum
            && let Some((layer, _)) = self.recorded(&checksum_key(source, checksum))?
        {
            return Ok(layer);
        }
        Ok(self.current(source, watch)?.1)
    }

    /// Asks the server, and downloads what is new.
    pub(super) fn current(&self, source: &HttpSource, watch: &Watch<'_>) -> Result<(SourceKey, Layer), SourceError> {
        let address = address_key(source);
        let lock = LockKey::new("download", &address.0);
        let _alone = self.store.locks().acquire(lock, Sharing::Exclusive, watch.cancelled)?;
        let known = self.last_got(source, &address)?;
        let answer = self.ask(source, known.as_ref().map(|(_, known)| known), watch)?;
        if let Some((layer, known)) = known.filter(|(_, known)| is_unchanged(&answer, known)) {
            return Ok((SourceKey { key: content_key(source, &known), fetched: false }, layer));
        }
        if !(200..300).contains(&answer.status()) {
            return Err(SourceError::Status(answer.status()));
        }
        self.take(source, address, answer, watch)
    }

    /// What was last got from the address. With a checksum that does not help: what it names is not in the store.
    fn last_got(&self, source: &HttpSource, address: &Key) -> Result<Option<(Layer, Known)>, SourceError> {
        if source.checksum.is_some() {
            return Ok(None);
        }
        let recorded = self.recorded(address)?;
        Ok(recorded.and_then(|(layer, record)| Some((layer, serde_json::from_str(&record.effects).ok()?))))
    }

    fn ask(&self, source: &HttpSource, known: Option<&Known>, watch: &Watch<'_>) -> Result<WebAnswer, SourceError> {
        let mut headers = Vec::new();
        match known {
            Some(Known { etag: Some(etag), .. }) => headers.push(("if-none-match", etag.clone())),
            Some(Known { last_modified: Some(moment), .. }) => headers.push(("if-modified-since", moment.clone())),
            _ => {}
        }
        if let Some(authorization) = self.authorization(&source.url)? {
            headers.push(("authorization", authorization));
        }
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let asked = retries::heard(shown(watch.task), self.web.web_get(&source.url, &headers));
        Ok(wait(watch, asked)??)
    }

    /// What the build's secrets say for the host, by the names that BuildKit gives them.
    fn authorization(&self, url: &str) -> Result<Option<String>, SourceError> {
        let host = authority(url);
        let text = |name: String| -> Result<Option<String>, SourceError> {
            let secret = self.client.secret(&name)?;
            Ok(secret.and_then(|secret| String::from_utf8(secret.0).ok()).map(|text| text.trim_end().to_owned()))
        };
        if let Some(header) = text(format!("HTTP_AUTH_HEADER_{host}"))? {
            return Ok(Some(header));
        }
        Ok(text(format!("HTTP_AUTH_TOKEN_{host}"))?.map(|token| format!("Bearer {token}")))
    }

    /// Takes the body into a layer.
    fn take(
        &self,
        source: &HttpSource,
        address: Key,
        mut answer: WebAnswer,
        watch: &Watch<'_>,
    ) -> Result<(SourceKey, Layer), SourceError> {
        let writer = self.store.layers().stage(&Metadata::root_owned(0o755, Timestamp::default()))?.writer()?;
        let mut attempts = Attempts::new(watch);
        let (known, digest) = loop {
            match save(&writer, source, &mut answer, watch) {
                Ok(digest) => break (Known::of(&answer, &digest), digest),
                Err(broken @ SourceError::Web(WebError::Interrupted { .. })) => {
                    attempts.again(broken)?;
                    answer = self.ask(source, None, watch)?;
                    if !(200..300).contains(&answer.status()) {
                        return Err(SourceError::Status(answer.status()));
                    }
                }
                Err(error) => return Err(error),
            }
        };
        if let Some(expected) = source.checksum.as_ref().filter(|expected| **expected != digest) {
            return Err(SourceError::Digest { actual: digest, expected: expected.clone() });
        }
        let key = content_key(source, &known);
        let layer = match self.recorded(&key)? {
            Some((layer, _)) => layer,
            None => writer.commit()?,
        };
        let effects = serde_json::to_string(&known).unwrap_or_default();
        self.record("download", layer.id(), effects, &[address, key, checksum_key(source, &digest)])?;
        Ok((SourceKey { key, fetched: true }, layer))
    }
}

impl Known {
    fn of(answer: &WebAnswer, digest: &Digest) -> Self {
        let header = |name| answer.header(name).map(str::to_owned);
        Known { etag: header("etag"), last_modified: header("last-modified"), digest: digest.to_string() }
    }
}

/// Whether the server says that the file is as it was: by its status, or by the same validator in a whole answer.
fn is_unchanged(answer: &WebAnswer, known: &Known) -> bool {
    answer.status() == 304
        || (answer.status() == 200 && known.etag.is_some() && answer.header("etag") == known.etag.as_deref())
}

/// Writes the body as the only file of a layer, and says what it hashes to.
fn save(
    writer: &LayerWriter,
    source: &HttpSource,
    answer: &mut WebAnswer,
    watch: &Watch<'_>,
) -> Result<Digest, SourceError> {
    let mut hasher = hasher(source)?;
    let mtime = answer.header("last-modified").and_then(moment).unwrap_or_default();
    let mut file = writer.file(&source.file_name, &Metadata::root_owned(MODE, mtime), Hashing::Now)?;
    let total = answer.length();
    while let Some(piece) = wait(watch, answer.chunk())?? {
        hasher.update(&piece);
        file.write_all(&piece).map_err(SourceError::local("writing a download"))?;
        watch.task.progress(hasher.length(), total);
    }
    file.finish()?;
    Ok(hasher.finish())
}

fn hasher(source: &HttpSource) -> Result<Hasher, SourceError> {
    match &source.checksum {
        None => Ok(Hasher::sha256()),
        Some(checksum) => {
            let unknown = || SourceError::Algorithm(checksum.algorithm().as_str().to_owned());
            checksum.hasher().ok_or_else(unknown)
        }
    }
}

/// An HTTP date, in today's form or that of C's `asctime`.
fn moment(text: &str) -> Option<Timestamp> {
    let fixed =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    let asctime = format_description!(
        "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
    );
    let parsed = time::PrimitiveDateTime::parse(text, fixed).or_else(|_| time::PrimitiveDateTime::parse(text, asctime));
    let moment: OffsetDateTime = parsed.ok()?.assume_utc();
    Some(Timestamp::from_seconds(moment.unix_timestamp()))
}

/// `host[:port]` of an address.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// What was last got from an address. Who asked does not count.
fn address_key(source: &HttpSource) -> Key {
    let address = kiln_dockerfile::without_credentials(&source.url);
    key_of("kiln download by address 1", &[&address, &source.file_name])
}

fn checksum_key(source: &HttpSource, checksum: &Digest) -> Key {
    key_of("kiln download by checksum 1", &[&checksum.to_string(), &source.file_name])
}

fn content_key(source: &HttpSource, known: &Known) -> Key {
    let modified = known.last_modified.as_deref().unwrap_or_default();
    key_of("kiln download by content 1", &[&known.digest, &source.file_name, modified])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_both_forms() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(moment(text), Some(Timestamp::from_seconds(784_111_777)), "{text}");
        }
        assert_eq!(moment("yesterday"), None);
    }

    #[test]
    fn a_host_is_known_without_who_asks() {
        assert_eq!(authority("https://u:p@h.example:8443/a@b?x"), "h.example:8443");
        assert_eq!(authority("http://h"), "h");
    }

    #[test]
    fn who_asks_is_part_of_no_key() {
        let source = |url: &str| HttpSource { url: url.into(), checksum: None, file_name: "f".into() };
        assert_eq!(address_key(&source("https://u:secret@h/f")), address_key(&source("https://xxxxx:xxxxx@h/f")));
        assert_ne!(address_key(&source("https://h/f")), address_key(&source("https://h/g")));
    }
}
