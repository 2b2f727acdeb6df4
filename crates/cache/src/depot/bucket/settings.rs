//! What a depot in an object store is told: the bucket, names in it, credentials. Reads no environment by itself.

use std::time::Duration;

use kiln_registry::Secret;
use object_store::RetryConfig;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

/// How often a request is repeated, and for how long, before it has failed. The pauses double from 100 ms on.
const RETRIES: usize = 6;
const LONGEST: Duration = Duration::from_secs(120);

/// The variables of the environment of which one says who we are.
const IDENTITY: [&str; 4] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

/// A cache in a bucket of an object store that speaks S3. The members are the options of BuildKit's S3 cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// The bucket.
    pub bucket: String,
    /// Its region; needed where neither this, the environment nor an endpoint says where to go.
    pub region: Option<String>,
    /// The name of the cache in the bucket, or several separated by `;`, by default `buildkit`.
    pub name: Option<String>,
    /// What all keys begin with, verbatim: as a rule it ends in `/`.
    pub prefix: Option<String>,
    /// What the keys of blobs begin with after that, by default `blobs/`.
    pub blobs_prefix: Option<String>,
    /// The same for entries, by default `entries/`.
    pub manifests_prefix: Option<String>,
    /// The address of the server, where it is not Amazon's.
    pub endpoint_url: Option<String>,
    /// Whether the bucket is part of the path of requests and not of the host. It always is where the host is an
    /// address or the bucket's name has dots.
    pub use_path_style: bool,
    /// Credentials: the name of the key.
    pub access_key_id: Option<Secret>,
    /// Credentials: the key.
    pub secret_access_key: Option<Secret>,
    /// Credentials: the token of a temporary key.
    pub session_token: Option<Secret>,
    /// After how long the date of a blob that is still used is renewed, for servers that delete what is old; by
    /// default 24 hours.
    pub touch_refresh: Option<Duration>,
    /// How many pieces of a blob are uploaded at the same time, by default 4.
    pub upload_parallelism: Option<usize>,
    /// The variables of the environment that count where an option is not given: `AWS_ACCESS_KEY_ID`, `AWS_REGION`,
    /// `AWS_ENDPOINT_URL` and so on. Others are ignored.
    pub environment: Vec<(String, Secret)>,
}

impl Bucket {
    /// The client for it, without its connections.
    ///
    /// # Errors
    /// Why nothing can be asked with these settings.
    pub(super) fn builder(&self) -> Result<AmazonS3Builder, String> {
        let mut builder = AmazonS3Builder::new();
        for (name, value) in &self.environment {
            if let Some(key) = key_of(name) {
                builder = builder.with_config(key, value.expose());
            }
        }
        let keys = [&self.access_key_id, &self.secret_access_key];
        if keys.iter().any(|key| key.is_some()) {
            // A token of the environment belongs to the key of the environment.
            builder = builder.with_token("");
        }
        let secret = |option: &Option<Secret>| option.as_ref().map(|secret| secret.expose().to_owned());
        let given = [
            (AmazonS3ConfigKey::AccessKeyId, secret(&self.access_key_id)),
            (AmazonS3ConfigKey::SecretAccessKey, secret(&self.secret_access_key)),
            (AmazonS3ConfigKey::Token, secret(&self.session_token)),
            (AmazonS3ConfigKey::Region, self.region.clone()),
        ];
        for (key, value) in given {
            if let Some(value) = value {
                builder = builder.with_config(key, value);
            }
        }
        let retry = RetryConfig { max_retries: RETRIES, retry_timeout: LONGEST, ..RetryConfig::default() };
        self.addressed(builder.with_bucket_name(&self.bucket).with_retry(retry))
    }

    fn addressed(&self, builder: AmazonS3Builder) -> Result<AmazonS3Builder, String> {
        let from = |key| builder.get_config_value(&key);
        let of_environment = from(AmazonS3ConfigKey::S3Endpoint).or_else(|| from(AmazonS3ConfigKey::Endpoint));
        let Some(endpoint) = self.endpoint_url.clone().or(of_environment) else {
            if from(AmazonS3ConfigKey::Region).is_none() {
                return Err("it has no region: give region=… or set AWS_REGION".into());
            }
            let in_path = self.use_path_style || self.bucket.contains('.');
            return Ok(builder.with_virtual_hosted_style_request(!in_path));
        };
        let parts = endpoint.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
        let Some((scheme, rest)) = parts else {
            return Err(format!("the endpoint {endpoint:?} does not begin with http:// or https://"));
        };
        let in_path = self.use_path_style || self.bucket.contains('.') || is_address(rest);
        let endpoint = if in_path { endpoint.clone() } else { format!("{scheme}://{}.{rest}", self.bucket) };
        let builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint.trim_end_matches('/'));
        Ok(builder.with_virtual_hosted_style_request(!in_path).with_allow_http(scheme == "http"))
    }

    /// Whether nothing says who we are, so that a machine in a cloud has to be asked.
    pub(super) fn relies_on_machine(&self) -> bool {
        let said = self.environment.iter().any(|(name, _)| IDENTITY.contains(&name.as_str()));
        !said && self.access_key_id.is_none()
    }

    /// Where a blob lies.
    pub(super) fn blob(&self, hex: &str) -> String {
        format!("{}{hex}", self.blobs())
    }

    /// What the keys of blobs begin with.
    pub(super) fn blobs(&self) -> String {
        let (prefix, blobs) = (self.prefix.as_deref().unwrap_or(""), self.blobs_prefix.as_deref());
        format!("{prefix}{}sha256/", blobs.unwrap_or("blobs/"))
    }

    /// What the keys of entries begin with, of caches of all names.
    pub(super) fn entries(&self) -> String {
        let (prefix, entries) = (self.prefix.as_deref().unwrap_or(""), self.manifests_prefix.as_deref());
        format!("{prefix}{}", entries.unwrap_or("entries/"))
    }

    /// The names of this cache.
    pub(super) fn names(&self) -> Vec<&str> {
        let names = self.name.as_deref().unwrap_or("buildkit").split(';');
        names.map(str::trim).filter(|name| !name.is_empty()).collect()
    }
}

/// What a variable of the environment sets, of those that say who we are and where to go.
fn key_of(name: &str) -> Option<AmazonS3ConfigKey> {
    let key = name.starts_with("AWS_").then(|| name.to_ascii_lowercase().parse().ok())??;
    let counts = !matches!(key, AmazonS3ConfigKey::Bucket | AmazonS3ConfigKey::VirtualHostedStyleRequest);
    counts.then_some(key)
}

/// A time as `touch_refresh` has it: numbers with the units `h`, `m` and `s`, such as `1h30m`.
pub fn period(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let unit = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at_checked(unit)?;
        let seconds = match after.chars().next()? {
            'h' => 60 * 60,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        total = total.checked_add(Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?))?;
        rest = after.get(1..)?;
    }
    (!text.is_empty()).then_some(total)
}

/// Whether the host of `HOST[:PORT][/…]` cannot have the name of a bucket before it.
fn is_address(rest: &str) -> bool {
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = if authority.starts_with('[') { authority } else { authority.split(':').next().unwrap_or(authority) };
    host == "localhost" || host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(bucket: &Bucket) -> Result<Option<String>, String> {
        bucket.builder().map(|builder| builder.get_config_value(&AmazonS3ConfigKey::S3Endpoint))
    }

    #[test]
    fn the_bucket_is_in_the_host_where_it_can_be() {
        let of = |url: &str, path_style: bool| {
            let bucket = Bucket {
                bucket: "b".into(),
                endpoint_url: Some(url.into()),
                use_path_style: path_style,
                ..Bucket::default()
            };
            endpoint(&bucket).unwrap().unwrap()
        };
        assert_eq!(of("https://s3.example", false), "https://b.s3.example");
        assert_eq!(of("https://s3.example/", true), "https://s3.example");
        assert_eq!(of("http://127.0.0.1:9000", false), "http://127.0.0.1:9000");
        assert_eq!(of("http://[::1]:9000/", false), "http://[::1]:9000");
    }

    #[test]
    fn where_to_go_must_be_said() {
        let mut bucket = Bucket { bucket: "b".into(), ..Bucket::default() };
        assert!(endpoint(&bucket).unwrap_err().contains("region"));
        bucket.environment = vec![("AWS_REGION".into(), Secret::new("r"))];
        assert_eq!(endpoint(&bucket), Ok(None));
        bucket.endpoint_url = Some("s3.example".into());
        assert!(endpoint(&bucket).unwrap_err().contains("http://"));
    }

    #[test]
    fn options_come_before_the_environment_and_nothing_secret_is_shown() {
        let secret = |text: &str| Some(Secret::new(text));
        let environment = [("AWS_ACCESS_KEY_ID", "env"), ("AWS_SESSION_TOKEN", "env"), ("AWS_BUCKET", "env")];
        let bucket = Bucket {
            bucket: "b".into(),
            region: Some("r".into()),
            access_key_id: secret("hush"),
            secret_access_key: secret("hush"),
            environment: environment.map(|(name, value)| (name.into(), Secret::new(value))).to_vec(),
            ..Bucket::default()
        };
        let builder = bucket.builder().unwrap();
        let value = |key| builder.get_config_value(&key).unwrap_or_default();
        assert_eq!(value(AmazonS3ConfigKey::AccessKeyId), "hush");
        assert_eq!(value(AmazonS3ConfigKey::Token), "", "of another key");
        assert_eq!(value(AmazonS3ConfigKey::Bucket), "b");
        assert!(!format!("{bucket:?}").contains("hush"));
        assert!(!bucket.relies_on_machine() && Bucket::default().relies_on_machine());
        let of_environment = Bucket { access_key_id: None, ..bucket };
        assert!(!of_environment.relies_on_machine());
    }

    #[test]
    fn periods() {
        let seconds = |text: &str| period(text).map(|time| time.as_secs());
        assert_eq!((seconds("24h"), seconds("1h30m5s"), seconds("0s")), (Some(86_400), Some(5_405), Some(0)));
        for text in ["", "24", "h", "1d", "-1h", "99999999999999999999h", "1h é"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn keys_are_those_that_were_asked_for() {
        let mut bucket = Bucket { prefix: Some("team/".into()), ..Bucket::default() };
        assert_eq!((bucket.blob("ab"), bucket.entries()), ("team/blobs/sha256/ab".into(), "team/entries/".into()));
        assert_eq!(bucket.names(), ["buildkit"]);
        bucket = Bucket { name: Some("a;b".into()), manifests_prefix: Some("m/".into()), ..bucket };
        assert_eq!((bucket.names(), bucket.entries()), (vec!["a", "b"], "team/m/".into()));
    }
}
