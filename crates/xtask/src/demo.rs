//! `cargo xtask demo`: the whole way once, on an example, with a store of its own under `target/demo`.
//! The first time it may install packages; from then on it needs no network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Outcome, program, run, run_quietly, shown};
use crate::{binary, fixtures, workspace};

const BASES: [&str; 2] = ["busybox", "gcc"];

struct Demo {
    kiln: PathBuf,
    /// The store and the copy of the example.
    place: PathBuf,
}

/// Builds the C example, builds it again, changes a file, builds, runs it, and says what to try next.
pub(crate) fn demo() -> Outcome {
    let root = workspace::root()?;
    let layouts = fixtures::assemble_only(&BASES)?;
    let demo = Demo { kiln: binary::release(&root)?, place: root.join("target/demo") };
    demo.start_afresh(&root.join("examples/c-program"))?;
    for base in BASES {
        demo.load(&layouts.join(base))?;
    }
    let build = ["build", "-t", "app", "c-program"];
    title("The first build compiles a C program in one stage and copies it to a small image.");
    demo.show(&build)?;
    title("Nothing changed: no step runs.");
    demo.show(&build)?;
    title("One file changed: only the steps from its COPY on run, and kiln says why.");
    demo.change("c-program/poem.txt", "Zebras zigzag\n")?;
    demo.show(&["build", "--explain", "-t", "app", "c-program"])?;
    title("The program counts the letters of the new text.");
    demo.show(&["run", "--rm", "app"])?;
    demo.show(&["images"])?;
    demo.say_what_next();
    Ok(())
}

impl Demo {
    /// A fresh copy of the example, and an empty store.
    fn start_afresh(&self, example: &Path) -> Outcome {
        if self.place.exists() {
            fs::remove_dir_all(&self.place).map_err(|e| format!("{}: {e}", self.place.display()))?;
        }
        fs::create_dir_all(&self.place).map_err(|e| format!("{}: {e}", self.place.display()))?;
        run_quietly(program("cp", &["-r"]).arg(example).arg(&self.place))
    }

    fn change(&self, file: &str, line: &str) -> Outcome {
        println!("$ echo '{}' >> {file}", line.trim_end());
        let path = self.place.join(file);
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        fs::write(&path, text + line).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn load(&self, layout: &Path) -> Outcome {
        let archive = self.place.join("base.tar");
        run_quietly(program("tar", &["-C"]).arg(layout).arg("-cf").arg(&archive).arg("."))?;
        let loaded = run(&mut self.command(&["load", "-i", "base.tar"]));
        fs::remove_file(&archive).map_err(|e| format!("{}: {e}", archive.display()))?;
        loaded
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = program(&self.kiln, args);
        command.current_dir(&self.place).env("KILN_ROOT", self.place.join("store"));
        command
    }

    fn show(&self, args: &[&str]) -> Outcome {
        println!("$ {}", shown(&program("kiln", args)));
        run(&mut self.command(args))
    }

    fn say_what_next(&self) {
        let (kiln, place) = (self.kiln.display(), self.place.display());
        title("Try next:");
        println!("  export KILN_ROOT={place}/store; alias kiln={kiln}; cd {place}");
        println!("  echo 'any text' | kiln run --rm -i app /dev/stdin");
        println!("  kiln history app");
        println!("  kiln build -o out c-program; find out");
        println!("  kiln build --output type=oci,dest=app.tar c-program");
        println!("  kiln system prune -a");
    }
}

fn title(text: &str) {
    println!("\n# {text}");
}
