//! The projects in `examples/`, with what must come out of them (`testdata/examples.json`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{testdata, workspace};

/// One example project.
pub struct Example {
    /// Its directory below `examples/`.
    pub name: String,
    /// The base images that it needs.
    pub bases: Vec<String>,
    /// Arguments of `kiln run --rm`.
    pub run: Vec<String>,
    /// What that prints.
    pub output: String,
    /// A file of the context that a person would change.
    pub edit: String,
    /// What is added to it.
    pub append: String,
    /// Beginnings of the steps that then run, in the order of the Dockerfile.
    pub runs_after_edit: Vec<String>,
}

/// All examples.
pub fn examples() -> Vec<Example> {
    let text = fs::read_to_string(testdata("examples.json")).expect("examples.json");
    let list: Vec<Value> = serde_json::from_str(&text).expect("examples.json");
    list.iter().map(example).collect()
}

fn example(value: &Value) -> Example {
    let text = |key: &str| value[key].as_str().unwrap_or_else(|| panic!("{key} in {value}")).to_owned();
    let texts = |key: &str| {
        let list = value[key].as_array().unwrap_or_else(|| panic!("{key} in {value}"));
        list.iter().map(|one| one.as_str().expect("text").to_owned()).collect()
    };
    Example {
        name: text("name"),
        bases: texts("bases"),
        run: texts("run"),
        output: text("output"),
        edit: text("edit"),
        append: text("append"),
        runs_after_edit: texts("runs_after_edit"),
    }
}

impl Example {
    /// Copies the project to `place`, with new inodes and times.
    pub fn copy_to(&self, place: &Path) -> PathBuf {
        let from = workspace().join("examples").join(&self.name);
        let done = Command::new("cp").arg("-r").arg(&from).arg(place).status();
        assert!(done.is_ok_and(|status| status.success()), "cannot copy {}", from.display());
        place.to_path_buf()
    }

    /// Changes the file that a person would change, in the copy at `place`.
    pub fn edit(&self, place: &Path) {
        let file = place.join(&self.edit);
        let text = fs::read_to_string(&file).expect("file to edit");
        fs::write(&file, text + &self.append).expect("file to edit");
    }
}
