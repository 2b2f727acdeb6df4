//! A depot in an object store that speaks S3.
//!
//! A blob lies under `PREFIX` `blobs/sha256/HEX`, an entry under `PREFIX` `entries/NAME/ID`. Objects appear whole, so
//! nothing is moved and nothing locked; the list of entries is one request. What the server deletes by age is renewed
//! while it is used (`touch_refresh`).

mod settings;
mod sweep;
mod upload;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt;
use kiln_oci::{Algorithm, Descriptor, Digest};
use kiln_registry::Client;
use object_store::aws::{AmazonS3, AmazonS3ConfigKey};
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::{ClientConfigKey, ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tokio::sync::OnceCell;

use super::unite::AtTag;
use super::{ENTRY_LIMIT, Entry, EntryId, Error, Fetch, Parcel, Put, Result};
pub use settings::{Bucket, period};

/// How old a blob may become before it is touched, where nothing else is said.
const TOUCH: Duration = Duration::from_secs(24 * 60 * 60);

/// The largest object that a server copies in one request, in bytes.
const COPY_LIMIT: u64 = 5 << 30;

/// A depot in a bucket.
#[derive(Clone)]
pub(super) struct Objects(Arc<Place>);

struct Place {
    bucket: Bucket,
    network: Client,
    store: OnceCell<AmazonS3>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Objects({:?})", self.0.bucket)
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.0.bucket.bucket, self.0.bucket.prefix.as_deref().unwrap_or_default())
    }
}

/// The connections that the object store's client gets.
#[derive(Debug)]
struct Connections {
    server: HttpClient,
    /// To the service that tells a machine in a cloud its credentials.
    metadata: HttpClient,
}

/// Where that service is.
const METADATA: &str = "169.254.169.254";

impl HttpConnector for Connections {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // For the metadata service a shorter time is asked for than for anything else.
        let timeout = |options: &ClientOptions| options.get_config_value(&ClientConfigKey::ConnectTimeout);
        let usual = timeout(options) == timeout(&ClientOptions::new());
        Ok(if usual { self.server.clone() } else { self.metadata.clone() })
    }
}

impl Objects {
    pub(super) fn new(network: Client, bucket: Bucket) -> Objects {
        Objects(Arc::new(Place { bucket, network, store: OnceCell::new() }))
    }

    async fn store(&self) -> Result<&AmazonS3> {
        self.0.store.get_or_try_init(|| self.connected()).await
    }

    async fn connected(&self) -> Result<AmazonS3> {
        let setup = |detail: String| Error::Setup { depot: self.to_string(), detail };
        let builder = self.0.bucket.builder().map_err(setup)?;
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::S3Endpoint).unwrap_or_default();
        let host = endpoint.split_once("://").map_or("", |(_, rest)| rest);
        let connections = async |host: &str| {
            let made = self.0.network.http(host).await;
            made.map(HttpClient::new).map_err(|e| setup(e.to_string()))
        };
        let connector = Connections { server: connections(host).await?, metadata: connections(METADATA).await? };
        builder.with_http_connector(connector).build().map_err(|e| setup(e.to_string()))
    }

    fn failed(&self, doing: &'static str, source: object_store::Error) -> Error {
        let depot = self.to_string();
        if self.0.bucket.relies_on_machine() {
            let detail = format!(
                "it has no credentials (access_key_id=…, AWS_ACCESS_KEY_ID), and with those of this machine in its cloud \
                 nothing can be done: {source}"
            );
            return Error::Setup { depot, detail };
        }
        Error::Objects { depot, doing, source: Box::new(source) }
    }

    fn missing(&self, digest: &Digest) -> Error {
        Error::Missing { depot: self.to_string(), digest: digest.clone() }
    }

    fn directory(&self, name: &str) -> Path {
        Path::from(format!("{}{name}", self.0.bucket.entries()))
    }

    pub(super) async fn names(&self) -> Result<Vec<EntryId>> {
        let mut ids = Vec::new();
        for name in self.0.bucket.names() {
            let listed = self.list(&self.directory(name)).await?;
            ids.extend(listed.iter().filter_map(|object| object.location.filename()?.parse::<EntryId>().ok()));
        }
        Ok(ids)
    }

    async fn list(&self, below: &Path) -> Result<Vec<ObjectMeta>> {
        let listed = self.store().await?.list(Some(below)).try_collect().await;
        listed.map_err(|e| self.failed("list", e))
    }

    /// BuildKit's own manifest lies where ours have a directory, in a place of its own name.
    pub(super) async fn at_tag(&self) -> Result<Option<AtTag>> {
        let bucket = &self.0.bucket;
        let own = bucket.manifests_prefix.as_deref().unwrap_or("manifests/");
        let prefix = bucket.prefix.as_deref().unwrap_or_default();
        for name in bucket.names() {
            match self.store().await?.head(&Path::from(format!("{prefix}{own}{name}"))).await {
                Ok(_) => return Ok(Some(AtTag::Foreign(super::Foreign::BuildKit))),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.failed("look at", error)),
            }
        }
        Ok(None)
    }

    pub(super) async fn manifest(&self, id: &EntryId) -> Result<Bytes> {
        for name in self.0.bucket.names() {
            match self.store().await?.get(&self.entry(name, id)).await {
                Ok(found) if found.meta.size > ENTRY_LIMIT => {
                    let (depot, what) = (self.to_string(), format!("entry {id}"));
                    return Err(Error::TooLarge { depot, what, limit: ENTRY_LIMIT });
                }
                Ok(found) => return found.bytes().await.map_err(|e| self.failed("read", e)),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.failed("read", error)),
            }
        }
        Err(self.missing(&id.digest))
    }

    fn entry(&self, name: &str, id: &EntryId) -> Path {
        self.directory(name).join(id.to_string())
    }

    fn blob(&self, digest: &Digest) -> Option<Path> {
        (digest.algorithm() == Algorithm::Sha256).then(|| Path::from(self.0.bucket.blob(digest.hex())))
    }

    pub(super) async fn fetch(&self, descriptor: &Descriptor) -> Result<Fetch> {
        let place = self.blob(&descriptor.digest).ok_or_else(|| self.missing(&descriptor.digest))?;
        let found = match self.store().await?.get(&place).await {
            Err(object_store::Error::NotFound { .. }) => return Err(self.missing(&descriptor.digest)),
            answer => answer.map_err(|e| self.failed("read", e))?,
        };
        Fetch::object(self.to_string(), descriptor, found)
    }

    /// Whether the blob is there in the right size, and will stay there for some time.
    pub(super) async fn holds(&self, descriptor: &Descriptor, grace: Duration) -> Result<bool> {
        let Some(place) = self.blob(&descriptor.digest) else { return Ok(false) };
        let found = match self.store().await?.head(&place).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            answer => answer.map_err(|e| self.failed("look at", e))?,
        };
        if found.size != descriptor.size {
            return Ok(false);
        }
        let touch = self.0.bucket.touch_refresh.unwrap_or(TOUCH).min(grace / 2);
        if age(&found) < touch {
            return Ok(true);
        }
        Ok(found.size <= COPY_LIMIT && self.touch(&place).await?)
    }

    /// Gives an object a new date. A server does not copy an object to itself as it is, so it goes there and back.
    /// Says whether it is still there.
    async fn touch(&self, place: &Path) -> Result<bool> {
        let store = self.store().await?;
        let aside = Path::from(format!("{place}.touched"));
        match store.copy(place, &aside).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            answer => answer.map_err(|e| self.failed("touch", e))?,
        }
        match store.copy(&aside, place).await {
            // Another writer touched it at the same time, and is done.
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(self.failed("touch", error)),
        }
        match store.delete(&aside).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(true),
            Err(error) => Err(self.failed("touch", error)),
        }
    }

    pub(super) async fn put(&self, parcel: &Parcel, grace: Duration) -> Result<Put> {
        if self.holds(&parcel.descriptor, grace).await? {
            return Ok(Put::Held);
        }
        self.upload(parcel).await?;
        Ok(Put::Sent)
    }

    pub(super) async fn publish(&self, entry: &Entry, manifest: Bytes) -> Result<()> {
        for name in self.0.bucket.names() {
            let place = self.entry(name, &entry.id);
            let payload = PutPayload::from(manifest.clone());
            // Whoever wrote it before wrote the same.
            match self.store().await?.put_opts(&place, payload, PutMode::Create.into()).await {
                Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                    let payload = PutPayload::from(manifest.clone());
                    self.store().await?.put(&place, payload).await.map_err(|e| self.failed("write", e))?;
                }
                Err(error) => return Err(self.failed("write", error)),
            }
        }
        Ok(())
    }

    pub(super) async fn retire(&self, ids: &[EntryId], grace: Duration) -> Result<usize> {
        for id in ids {
            for name in self.0.bucket.names() {
                self.remove(&self.entry(name, id)).await?;
            }
        }
        self.sweep(grace).await?;
        Ok(ids.len())
    }

    async fn remove(&self, place: &Path) -> Result<()> {
        match self.store().await?.delete(place).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", error)),
        }
    }
}

/// How long ago an object was written, by the clocks of the server and of this machine.
fn age(object: &ObjectMeta) -> Duration {
    let written = u64::try_from(object.last_modified.timestamp()).unwrap_or(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_secs(written))
}
