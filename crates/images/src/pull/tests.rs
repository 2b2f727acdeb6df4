//! Pulls from a registry on the loopback that counts what it is asked, and can lie.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use kiln_progress::Sink;
use kiln_store::Layer;

use super::*;
use crate::export::{ContentLayer, ExportOptions, ImageContent, oci};
use crate::layout;
use crate::tar::TarReader;
use crate::testing::*;

/// Serves one repository read-only until the test's process ends.
struct Registry {
    address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Bytes by path below `/v2/REPOSITORY/`, with their media type.
    documents: BTreeMap<String, (String, Vec<u8>)>,
    asked: HashMap<String, usize>,
}

impl Registry {
    /// A registry with one image, tagged `latest`.
    fn with(image: &ImageContent, store: &Store) -> Registry {
        let mut bytes = Vec::new();
        let task = Sink::none().task("export");
        let options = ExportOptions::default();
        let exported = oci(&mut bytes, store, std::slice::from_ref(image), &[], &options, &task).unwrap();
        let mut state = State::default();
        let mut reader = TarReader::new(bytes.as_slice());
        let manifest = layout::blob_path(&exported.descriptor.digest);
        while let Some(entry) = reader.next_entry().unwrap() {
            let mut content = Vec::new();
            reader.read_to_end(&mut content).unwrap();
            let path = String::from_utf8(entry.path).unwrap();
            if path == manifest {
                let media_type = exported.descriptor.media_type.as_str().to_owned();
                for reference in ["latest".to_owned(), exported.descriptor.digest.to_string()] {
                    state.documents.insert(format!("manifests/{reference}"), (media_type.clone(), content.clone()));
                }
            } else if let Some(hex) = path.strip_prefix("blobs/sha256/").filter(|hex| !hex.is_empty()) {
                let media_type = "application/octet-stream".to_owned();
                state.documents.insert(format!("blobs/sha256:{hex}"), (media_type, content));
            }
        }
        Registry::serve(state)
    }

    fn serve(state: State) -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || answer(stream.unwrap(), &shared));
            }
        });
        Registry { address, state }
    }

    fn reference(&self) -> Reference {
        format!("{}/team/app", self.address).parse().unwrap()
    }

    /// How often blobs were asked for.
    fn blobs_asked(&self) -> usize {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|(path, _)| path.starts_with("blobs/")).map(|(_, count)| count).sum()
    }

    /// Falsifies the largest blob, keeping its size.
    fn falsify(&self) {
        let mut state = self.state.lock().unwrap();
        let largest = state.documents.values_mut().max_by_key(|(_, bytes)| bytes.len()).unwrap();
        let middle = largest.1.len() / 2;
        largest.1[middle] ^= 0xff;
    }
}

/// Answers one request; the connection is closed after it.
fn answer(mut stream: TcpStream, state: &Mutex<State>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    while lines.next().is_some_and(|line| !line.is_empty()) {}
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let document = path.strip_prefix("/v2/team/app/").and_then(|path| {
        let mut state = state.lock().unwrap();
        *state.asked.entry(path.to_owned()).or_default() += 1;
        state.documents.get(path).cloned()
    });
    let head = match (&document, path) {
        (Some((media_type, bytes)), _) => {
            format!("200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {}", bytes.len())
        }
        (None, "/v2/") => "200 OK\r\nContent-Length: 0".to_owned(),
        (None, _) => "404 Not Found\r\nContent-Length: 0".to_owned(),
    };
    // A client that hangs up early is none of the server's business.
    let _ = write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
    if let (Some((_, bytes)), "GET") = (document, method) {
        let _ = stream.write_all(&bytes);
    }
}

fn client() -> Client {
    Client::new(kiln_registry::Config::default(), Arc::new(kiln_registry::Anonymous))
}

fn platform() -> Platform {
    Platform::new("linux", "amd64")
}

/// Two layers, the first of them twice.
fn sample(store: &Store) -> ImageContent {
    let base = torture_layer(store);
    let top = layer_over(store, std::slice::from_ref(&base), |writer| {
        put_file(writer, "top", &metadata(0o644), b"top");
    });
    let config =
        kiln_oci::ImageConfig { architecture: "amd64".into(), os: "linux".into(), ..kiln_oci::ImageConfig::default() };
    ImageContent { config, layers: [base.clone(), top, base].map(ContentLayer::Here).into(), platform: platform() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_once_and_is_the_same() {
    let (from, to) = (TestStore::new(), TestStore::new());
    let image = sample(&from.store);
    let registry = Registry::with(&image, &from.store);
    let task = Sink::none().task("pull");
    let reference = registry.reference();
    let pulled = super::image(&to.store, &client(), &reference, &platform(), &task).await.unwrap();
    assert_eq!(pulled.image.names, [format!("{}/team/app:latest", registry.address)]);
    assert_eq!(registry.blobs_asked(), 3, "a config and two distinct layers");
    for (wanted, layer) in image.layers_here().unwrap().iter().zip(&pulled.image.layers) {
        let layer = to.store.layers().get(layer.layer.unwrap()).unwrap().unwrap();
        assert_eq!(listing(wanted), listing(&layer));
    }
    let resolution = to.store.resolutions().get(&reference.with_default_tag().to_string()).unwrap().unwrap();
    assert_eq!(resolution.digest, pulled.root);

    super::image(&to.store, &client(), &reference, &platform(), &task).await.unwrap();
    assert_eq!(registry.blobs_asked(), 4, "only the config again");
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_wait_until_somebody_wants_files() {
    let (from, to) = (TestStore::new(), TestStore::new());
    let image = sample(&from.store);
    let registry = Registry::with(&image, &from.store);
    let (client, reference, task) = (client(), registry.reference(), Sink::none().task("pull"));
    let pulled = manifest(&to.store, &client, &reference, &platform()).await.unwrap();
    assert_eq!(registry.blobs_asked(), 1);
    assert!(pulled.image.names.is_empty() && pulled.image.layers.iter().all(|layer| layer.layer.is_none()));
    // Two who want them at once get the same layers from one download.
    let (one, two) = tokio::join!(
        layers(&to.store, &client, &pulled.image, &task),
        layers(&to.store, &client, &pulled.image, &task),
    );
    let ids = |layers: Vec<Layer>| layers.iter().map(Layer::id).collect::<Vec<_>>();
    let (one, two) = (ids(one.unwrap()), ids(two.unwrap()));
    assert_eq!(one, two);
    assert!(one[0] == one[2] && one[0] != one[1]);
    assert_eq!(registry.blobs_asked(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_lies_is_found_out() {
    let (from, to) = (TestStore::new(), TestStore::new());
    let image = sample(&from.store);
    let registry = Registry::with(&image, &from.store);
    registry.falsify();
    let task = Sink::none().task("pull");
    let result = super::image(&to.store, &client(), &registry.reference(), &platform(), &task).await;
    let error = result.unwrap_err().to_string();
    assert!(error.contains("sha256:"), "{error}");
    let diff_ids = crate::pack::diff_ids(&from.store, &image.layers_here().unwrap()).unwrap();
    assert!(to.store.layers().by_diff_id(&diff_ids[0]).unwrap().is_none());
    assert!(to.store.images().resolve(&registry.reference().to_string()).unwrap().is_none());
}
