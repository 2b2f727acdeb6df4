//! Images of one layer with any bytes, for a kiln to load.

use std::path::{Path, PathBuf};

use kiln_tests::kiln::{Answer, Kiln, tool};

/// A docker archive whose only layer are these bytes; `tar` is what they are without compression.
fn archive(kiln: &Kiln, name: &str, blob: &[u8], tar: &[u8]) -> PathBuf {
    let place = kiln.scratch(&format!("images/{name}"));
    let write = |file: &str, bytes: &[u8]| std::fs::write(place.join(file), bytes).expect("part of an image");
    write("plain", tar);
    let sum = tool("sha256sum", &[text(&place.join("plain"))]);
    let diff_id = sum.split(' ').next().expect("a digest");
    write("layer.tar", blob);
    let rootfs = format!(r#"{{"type":"layers","diff_ids":["sha256:{diff_id}"]}}"#);
    write(
        "config.json",
        format!(r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{rootfs}}}"#).as_bytes(),
    );
    let repository = name.replace(' ', "-");
    let manifest = format!(r#"[{{"Config":"config.json","RepoTags":["{repository}:1"],"Layers":["layer.tar"]}}]"#);
    write("manifest.json", manifest.as_bytes());
    let archive = kiln.scratch("images").join(format!("{name}.tar"));
    tool("tar", &["-C", text(&place), "-cf", text(&archive), "manifest.json", "config.json", "layer.tar"]);
    archive
}

/// Loads an image of this layer.
pub(crate) fn load(kiln: &Kiln, name: &str, layer: &[u8]) -> Answer {
    kiln.run(&["load", "-q", "-i", text(&archive(kiln, name, layer, layer))])
}

/// The same of a layer that is compressed, with these variables set.
pub(crate) fn load_compressed(kiln: &Kiln, name: &str, blob: &[u8], tar: &[u8], variables: &[(&str, &str)]) -> Answer {
    let archive = archive(kiln, name, blob, tar);
    let mut command = kiln.command(&["load", "-q", "-i", text(&archive)]);
    command.envs(variables.iter().copied());
    kiln_tests::kiln::answer(&mut command)
}

/// How many layers the store has.
pub(crate) fn layers(kiln: &Kiln) -> usize {
    std::fs::read_dir(kiln.root().join("layers")).map_or(0, |entries| entries.count())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}
