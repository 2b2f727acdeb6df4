//! The habits of this project as tests: they read the sources and documents, nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kiln_tests::kiln::tool;
use kiln_tests::source::{code_only, functions};
use kiln_tests::workspace;

#[test]
fn crates_depend_only_on_what_the_table_allows() {
    let allowed = dependency_table();
    let mut wrong = Vec::new();
    for (package, dependencies) in our_dependencies() {
        let Some(may) = allowed.get(&package) else {
            wrong.push(format!("ARCHITECTURE.md has no row for `{package}`"));
            continue;
        };
        let more = dependencies.difference(may);
        wrong.extend(more.map(|other| format!("`{package}` may not depend on `{other}`")));
    }
    assert_none(wrong);
}

/// The table in ARCHITECTURE.md whose first column is `crate`: crate → those that it may depend on.
fn dependency_table() -> BTreeMap<String, BTreeSet<String>> {
    let text = read(&workspace().join("ARCHITECTURE.md"));
    let rows = text.lines().skip_while(|line| !line.starts_with("| crate |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let cell = |row: &str, n: usize| row.split('|').nth(n).unwrap_or_default().trim().to_owned();
    let list = |text: String| {
        let names = text.split(',').map(|name| name.trim().trim_matches('`').to_owned());
        names.filter(|name| name != "–").collect()
    };
    let table: BTreeMap<_, _> =
        rows.map(|row| (cell(row, 1).trim_matches('`').to_owned(), list(cell(row, 3)))).collect();
    assert!(table.len() > 10, "the table of crates was not found");
    table
}

/// Every crate below `crates/` by directory name, with those of ours that its manifest names.
fn our_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = workspace().join("Cargo.toml");
    let manifest = manifest.to_str().expect("path in UTF-8");
    let args = ["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path", manifest];
    let metadata: serde_json::Value = serde_json::from_str(&tool("cargo", &args)).expect("metadata");
    let mut found = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let path = package["manifest_path"].as_str().expect("path");
        let Some((_, name)) = path.trim_end_matches("/Cargo.toml").rsplit_once("/crates/") else { continue };
        let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
        let names = dependencies.map(|one| one["name"].as_str().expect("name"));
        let ours = names.filter_map(|name| name.strip_prefix("kiln-")).map(str::to_owned);
        found.insert(name.to_owned(), ours.collect());
    }
    found
}

#[test]
fn every_source_file_opens_with_what_it_is_for() {
    let wrong = sources().into_iter().filter(|source| !source.text.starts_with("//!"));
    assert_none(wrong.map(|source| format!("{} does not start with `//!`", source.path)).collect());
}

#[test]
fn functions_and_files_do_not_grow() {
    let limits = ratchet();
    let mut wrong = Vec::new();
    let (mut all, mut long) = (0, 0);
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > limits["longest_file"] {
            wrong.push(format!("{} has {lines} lines", source.path));
        }
        for function in functions(&source.code) {
            all += 1;
            long += usize::from(function.lines > 40);
            if function.lines > limits["longest_function"] {
                let (line, lines) = (function.line, function.lines);
                wrong.push(format!("{}:{line}: `{}` has {lines} lines", source.path, function.name));
            }
        }
    }
    let share = long * 1000 / all;
    println!("{long} of {all} functions have more than 40 lines: {share} of 1000");
    if share > limits["functions_over_40_lines_per_1000"] {
        wrong.push(format!("{share} of 1000 functions have more than 40 lines"));
    }
    assert_none(wrong);
}

/// `name = number` lines of ratchet.toml.
fn ratchet() -> BTreeMap<String, usize> {
    let text = read(&workspace().join("tests/ratchet.toml"));
    let lines = text.lines().filter_map(|line| line.split_once(" = "));
    lines.map(|(name, number)| (name.to_owned(), number.parse().expect("number"))).collect()
}

#[test]
fn nothing_is_left_for_later() {
    let words = ["todo!", "dbg!", "unimplemented!", "#[ignore"];
    let mut wrong = Vec::new();
    for source in sources() {
        for (number, line) in source.code.lines().enumerate() {
            let found = words.iter().filter(|word| line.contains(**word));
            wrong.extend(found.map(|word| format!("{}:{}: {word}", source.path, number + 1)));
        }
    }
    assert_none(wrong);
}

#[test]
fn unsafe_stays_where_it_belongs_and_says_why_it_is_sound() {
    let homes = ["crates/runtime/", "crates/store/"];
    let mut wrong = Vec::new();
    for source in sources() {
        let text: Vec<&str> = source.text.lines().collect();
        for (number, line) in source.code.lines().enumerate() {
            if !line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe") {
                continue;
            }
            let place = format!("{}:{}", source.path, number + 1);
            if !homes.iter().any(|home| source.path.starts_with(home)) {
                wrong.push(format!("{place}: unsafe outside of runtime and store"));
            }
            let above = &text[number.saturating_sub(8)..=number];
            if !above.iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety")) {
                wrong.push(format!("{place}: unsafe without SAFETY:"));
            }
        }
    }
    assert_none(wrong);
}

#[test]
fn every_source_file_is_part_of_its_crate() {
    let mut wrong = Vec::new();
    let manifest = read(&workspace().join("tests/Cargo.toml"));
    let lib = read(&workspace().join("tests/lib.rs"));
    for source in sources() {
        if let Some(test) = source.path.strip_prefix("tests/") {
            let quoted = format!("\"{test}\"");
            if !manifest.contains(&quoted) && !lib.contains(&quoted) && !is_declared(&source.path) {
                wrong.push(format!(
                    "{} is named in neither tests/Cargo.toml nor tests/lib.rs, nor a module",
                    source.path
                ));
            }
        } else if !is_root_of_a_target(&source.path) && !is_declared(&source.path) {
            wrong.push(format!("{} is no module of its crate", source.path));
        }
    }
    assert_none(wrong);
}

/// Cargo finds these by itself.
fn is_root_of_a_target(path: &str) -> bool {
    let inside = path.splitn(3, '/').nth(2).unwrap_or(path);
    let alone = |directory| inside.strip_prefix(directory).is_some_and(|file: &str| !file.contains('/'));
    let named = ["src/lib.rs", "src/main.rs", "build.rs"].contains(&inside);
    let in_directory = ["examples/", "tests/"].iter().any(|of| inside.starts_with(of)) && inside.ends_with("/main.rs");
    named
        || in_directory
        || ["src/bin/", "tests/", "examples/", "benches/"].into_iter().any(alone)
        || path == "benches/lib.rs"
}

/// Whether the module above says `mod NAME;`, or one beside it names the file.
fn is_declared(path: &str) -> bool {
    let path = workspace().join(path);
    let file = path.file_name().expect("name").to_string_lossy();
    let (mut directory, mut name) = (path.parent().expect("parent"), path.file_stem().expect("name"));
    let named = format!("#[path = \"{file}\"]");
    let siblings = std::fs::read_dir(directory).expect("directory").flatten().map(|entry| entry.path());
    if siblings.filter(|sibling| sibling.extension() == path.extension()).any(|sibling| read(&sibling).contains(&named))
    {
        return true;
    }
    if name == "mod" {
        name = directory.file_name().expect("name");
        directory = directory.parent().expect("parent");
    }
    let above = ["lib.rs", "main.rs", "mod.rs"].map(|file| directory.join(file));
    // Beside `tests/a.rs`, which is a crate of its own, lie the modules of all such crates.
    let beside = std::fs::read_dir(directory).expect("directory").flatten().map(|entry| entry.path());
    let beside = beside.filter(|file| directory.ends_with("tests") && file.extension().is_some_and(|rs| rs == "rs"));
    let above = above.into_iter().chain([directory.with_extension("rs")]).chain(beside);
    let declaration = format!("mod {};", name.to_string_lossy());
    above.filter(|file| file.is_file()).any(|file| read(&file).contains(&declaration))
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        let directory = workspace().join(&path);
        let directory = directory.parent().expect("parent");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !directory.join(file).exists() {
                wrong.push(format!("{path}: {link}"));
            }
        }
    }
    assert_none(wrong);
}

#[test]
fn the_architecture_names_files_that_exist() {
    let text = read(&workspace().join("ARCHITECTURE.md"));
    let homes = ["crates/", "tests/", "benches/", "testdata/", "examples/", "docs/", ".ci/"];
    let named: BTreeSet<&str> = text.split('`').skip(1).step_by(2).collect();
    let paths = named.into_iter().filter(|name| homes.iter().any(|home| name.starts_with(home)));
    let plain = |path: &&str| path.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    let paths: Vec<&str> = paths.filter(plain).collect();
    assert!(paths.len() > 10, "ARCHITECTURE.md hardly names a file");
    let missing = paths.iter().filter(|path| !workspace().join(path).exists());
    assert_none(missing.map(|path| format!("`{path}` does not exist")).collect());
}

#[test]
fn no_machine_of_ours_shows_through() {
    // In halves, so that this file may name them.
    let places = [["/wo", "rk/"], ["/tmp/tar", "get"], ["/ro", "ot/.cargo"], ["/ho", "me/runner"]];
    let hosts = [
        ["qu", "ay.io"],
        ["gc", "r.io/"],
        ["mcr.micro", "soft.com"],
        ["public.ecr", ".aws"],
        ["registry.np", "mjs.org"],
        ["py", "pi.org"],
        ["static.cra", "tes.io"],
        ["index.cra", "tes.io"],
        ["deb.deb", "ian.org"],
        ["snapshot.deb", "ian.org"],
    ];
    let words = places.iter().chain(&hosts).map(|halves| halves.concat());
    let words: Vec<String> = words.collect();
    let mut wrong = Vec::new();
    for path in tracked() {
        let recorded = path.starts_with("testdata/conformance/") || path.starts_with("testdata/cli/");
        if recorded || path == "Cargo.lock" {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(workspace().join(&path)) else { continue };
        let found = words.iter().filter(|word| contains_word(&text, word));
        wrong.extend(found.map(|word| format!("{path}: {word}")));
    }
    assert_none(wrong);
}

/// Whether the text has this place or host, and not as the end of a longer one.
fn contains_word(text: &str, word: &str) -> bool {
    let before = |at: usize| text[..at].chars().next_back();
    text.match_indices(word).any(|(at, _)| before(at).is_none_or(|c| !c.is_alphanumeric()))
}

/// A Rust file of ours.
struct Source {
    /// From the workspace.
    path: String,
    text: String,
    /// Without comments and literals.
    code: String,
}

fn sources() -> Vec<Source> {
    let rust = tracked().into_iter().filter(|path| path.ends_with(".rs"));
    rust.map(|path| {
        let text = read(&workspace().join(&path));
        Source { code: code_only(&text), path, text }
    })
    .collect()
}

/// Path and text of every document, testdata aside.
fn documents() -> Vec<(String, String)> {
    let ours = |path: &String| path.ends_with(".md") && !path.starts_with("testdata/");
    tracked().into_iter().filter(ours).map(|path| (path.clone(), read(&workspace().join(&path)))).collect()
}

/// Every file of the project: what git knows, and what it would take.
fn tracked() -> Vec<String> {
    let root = workspace();
    let root = root.to_str().expect("path in UTF-8");
    let list = tool(
        "git",
        &["-c", "safe.directory=*", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
    );
    let paths = list.split('\0').filter(|path| !path.is_empty()).map(str::to_owned);
    paths.filter(|path| PathBuf::from(root).join(path).is_file()).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[track_caller]
fn assert_none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
