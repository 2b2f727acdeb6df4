//! Which files of a context are read again: whatever changed, however well it hides it; and a context that only looks
//! new is all hits.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_tests::is_root_for;
use kiln_tests::kiln::{Kiln, tool};
use kiln_tests::running::{Running, wait_until};
use kiln_tests::steps::executed;

const DOCKERFILE: &str = "FROM scratch\nCOPY tree /tree\n";

/// A context with two files, all of them from long ago.
struct Project<'a> {
    kiln: &'a Kiln,
    context: PathBuf,
}

impl<'a> Project<'a> {
    fn new(kiln: &'a Kiln, context: PathBuf) -> Self {
        fs::create_dir_all(context.join("tree")).expect("context");
        fs::write(context.join("Dockerfile"), DOCKERFILE).expect("Dockerfile");
        let project = Project { kiln, context };
        for (path, content) in [("tree/f", "one"), ("tree/g", "other")] {
            fs::write(project.path(path), content).expect("file");
            age(&project.path(path));
        }
        project
    }

    fn path(&self, path: &str) -> PathBuf {
        self.context.join(path)
    }

    /// Waits until no file is so young that another change could leave the same times.
    fn settle(&self) {
        for path in ["tree/f", "tree/g"] {
            let changed =
                |file: fs::Metadata| UNIX_EPOCH + Duration::new(file.ctime() as u64, file.ctime_nsec() as u32);
            let file = self.path(path);
            let old = || {
                let changed = changed(file.metadata().expect("file"));
                SystemTime::now().duration_since(changed).is_ok_and(|age| age > Duration::from_millis(100))
            };
            wait_until("files that can be trusted", old);
        }
    }

    /// Builds: whether the copy was executed, and what `tree/f` is in the result.
    #[track_caller]
    fn build(&self) -> (bool, String) {
        let out = self.kiln.scratch("out").join("files");
        let _ = fs::remove_dir_all(&out);
        let steps = self.kiln.build(&self.context, &["-o", out.to_str().expect("UTF-8")]);
        (!executed(&steps).is_empty(), fs::read_to_string(out.join("tree/f")).expect("result"))
    }

    /// Builds until the files' digests are known by their status.
    #[track_caller]
    fn build_until_known(&self) {
        self.settle();
        let known = remembered(self.kiln);
        assert!(self.build().0, "the first build copies");
        assert!(!self.build().0, "the second does not");
        assert_eq!(remembered(self.kiln), known + 2, "digests of both files are kept");
    }
}

/// Gives a file a modification time of long ago, always the same.
fn age(path: &Path) {
    let long_ago = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::open(path).and_then(|file| file.set_modified(long_ago)).expect("time of a file");
}

/// How many files' digests the store keeps for later builds, of all contexts.
fn remembered(kiln: &Kiln) -> u64 {
    let Ok(contexts) = fs::read_dir(kiln.root().join("contexts")) else { return 0 };
    contexts.flatten().map(|file| (file.metadata().expect("stat cache").len() - 48) / 80).sum()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Stores three bytes into a mapping of the file, without closing it until the standard input ends.
const MAPPED: &str = "import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
mapped = mmap.mmap(fd, 3)
os.close(fd)
for line in sys.stdin:
    mapped[0:3] = line[:3].encode()
    print('stored', flush=True)
";

/// A process that has a file mapped.
struct Mapper {
    child: Child,
}

impl Mapper {
    fn new(path: &Path) -> Mapper {
        let mut command = Command::new("python3");
        let command = command.args(["-c", MAPPED, text(path)]).stdin(Stdio::piped()).stdout(Stdio::piped());
        Mapper { child: command.spawn().expect("python3") }
    }

    fn store(&mut self, bytes: &str) {
        writeln!(self.child.stdin.as_mut().expect("piped"), "{bytes}").expect("standard input");
        let mut answer = String::new();
        let output = self.child.stdout.as_mut().expect("piped");
        BufReader::new(output).read_line(&mut answer).expect("standard output");
        assert_eq!(answer, "stored\n");
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("python3").success());
    }
}

/// Ways to write `two` where `one` was.
type Change = fn(&Project<'_>, &Path);

const CHANGES: [(&str, Change); 7] = [
    ("in place", |_, file| fs::write(file, "two").expect("file")),
    ("another file in its place", |project, file| {
        fs::write(project.path("new"), "two").expect("file");
        age(&project.path("new"));
        fs::rename(project.path("new"), file).expect("rename");
    }),
    ("removed, then made anew", |_, file| {
        fs::remove_file(file).expect("file");
        fs::write(file, "two").expect("file");
    }),
    ("through another name outside", |project, file| {
        let other = project.kiln.scratch("elsewhere").join("name");
        fs::hard_link(file, &other).expect("link");
        fs::write(&other, "two").expect("file");
        fs::remove_file(&other).expect("link");
    }),
    ("cut and lengthened", |_, file| {
        let opened = File::options().write(true).open(file).expect("file");
        opened.set_len(0).expect("cut");
        (&opened).write_all(b"two").expect("file");
    }),
    ("a mapping", |_, file| {
        let mut mapper = Mapper::new(file);
        mapper.store("two");
        mapper.end();
    }),
    ("cp with times", |project, file| {
        fs::write(project.path("new"), "two").expect("file");
        age(&project.path("new"));
        tool("cp", &["--preserve=timestamps", text(&project.path("new")), text(file)]);
    }),
];

#[test]
fn a_change_of_equal_size_and_time_is_a_miss() {
    if !is_root_for("changes of equal size and time") {
        return;
    }
    let kiln = Kiln::on_fresh_disk();
    for (number, (words, change)) in CHANGES.iter().enumerate() {
        let project = Project::new(&kiln, kiln.scratch(&format!("context{number}")));
        // What earlier contexts left in the cache must not help.
        fs::write(project.path("tree/number"), number.to_string()).expect("file");
        project.settle();
        assert!(project.build().0, "{words}: the first build copies");
        project.settle();
        assert!(!project.build().0, "{words}: the second does not");
        let file = project.path("tree/f");
        let before = file.metadata().expect("file");
        change(&project, &file);
        age(&file);
        let after = file.metadata().expect("file");
        assert_eq!((before.len(), before.mtime()), (after.len(), after.mtime()), "{words}");
        assert_eq!(project.build(), (true, "two".into()), "{words}");
    }
}

#[test]
fn who_has_a_file_mapped_goes_unnoticed_by_nobody() {
    if !is_root_for("a mapped file") {
        return;
    }
    let kiln = Kiln::on_fresh_disk();
    let project = Project::new(&kiln, kiln.scratch("context"));
    let file = project.path("tree/f");
    let mut mapper = Mapper::new(&file);
    mapper.store("two");
    project.settle();
    assert_eq!(project.build(), (true, "two".into()));
    assert_eq!(project.build(), (false, "two".into()));
    let before = file.metadata().expect("file");
    mapper.store("six");
    let after = file.metadata().expect("file");
    assert_eq!((before.mtime_nsec(), before.ctime_nsec()), (after.mtime_nsec(), after.ctime_nsec()), "no trace");
    assert_eq!(project.build(), (true, "six".into()));
    mapper.end();
}

#[test]
fn a_context_that_only_looks_new_is_all_hits() {
    let kiln = Kiln::new();
    let project = Project::new(&kiln, kiln.scratch("context"));
    project.build_until_known();
    let place = |name: &str| kiln.scratch("places").join(name);
    let from = text(&project.context).to_owned();
    let hit = |words: &str, context: &Path| {
        let moved = Project { kiln: &kiln, context: context.to_path_buf() };
        assert_eq!(moved.build(), (false, "one".into()), "{words}");
    };
    tool("touch", &[text(&project.path("tree")), text(&project.path("tree/f")), text(&project.path("Dockerfile"))]);
    hit("touched", &project.context);
    for (words, option) in [("copied with times", "-a"), ("copied", "-r")] {
        tool("cp", &[option, &from, text(&place(words))]);
        hit(words, &place(words));
    }
    fs::create_dir(place("unpacked")).expect("directory");
    tool("tar", &["-C", &from, "-cf", text(&place("packed.tar")), "."]);
    tool("tar", &["-C", text(&place("unpacked")), "-xf", text(&place("packed.tar"))]);
    hit("unpacked", &place("unpacked"));
    let git = |args: &[&str]| tool("git", &[&["-c", "user.name=a", "-c", "user.email=a@b"], args].concat());
    git(&["init", "-q", &from]);
    git(&["-C", &from, "add", "."]);
    git(&["-C", &from, "commit", "-qm", "all"]);
    for clone in ["first clone", "second clone"] {
        git(&["clone", "-q", &from, text(&place(clone))]);
        hit(clone, &place(clone));
    }
    fs::rename(&project.context, place("moved")).expect("rename");
    hit("moved", &place("moved"));
    fs::rename(place("moved"), &project.context).expect("rename");
    hit("moved back", &project.context);
}

/// A file system that is mounted while this lives.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: PathBuf, options: &[&str]) -> Mounted {
        fs::create_dir_all(&at).expect("mount point");
        tool("mount", &[options, &[text(&at)]].concat());
        Mounted(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(&self.0).status();
        assert!(std::thread::panicking() || done.is_ok_and(|status| status.success()), "{} stays", self.0.display());
    }
}

/// An image with a new file system, made by this program.
fn image(kiln: &Kiln, name: &str, program: &[&str]) -> PathBuf {
    let image = kiln.scratch("images").join(name);
    tool("truncate", &["-s", "64M", text(&image)]);
    tool(program[0], &[&program[1..], &[text(&image)]].concat());
    image
}

#[test]
fn a_change_in_the_same_tick_is_a_miss_on_every_file_system() {
    if !is_root_for("file systems with coarse times") {
        return;
    }
    let kiln = Kiln::new();
    let seconds = image(&kiln, "ext3", &["mkfs.ext3", "-q", "-F", "-I", "128"]);
    let fine = image(&kiln, "ext4", &["mkfs.ext4", "-q", "-F"]);
    let layers = ["lower", "upper", "work"].map(|name| kiln.scratch(name));
    let [lower, upper, work] = layers.each_ref().map(|path| text(path));
    let overlay = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let kinds: [(&str, Vec<&str>); 4] = [
        ("ext3", vec!["-o", "loop", text(&seconds)]),
        ("ext4", vec!["-o", "loop", text(&fine)]),
        ("tmpfs", vec!["-t", "tmpfs", "none"]),
        ("overlay", vec!["-t", "overlay", "-o", &overlay, "none"]),
    ];
    for (name, options) in &kinds {
        let mounted = Mounted::new(kiln.scratch("mounts").join(name), options);
        let project = Project::new(&kiln, mounted.0.join("context"));
        fs::write(project.path("tree/kind"), name).expect("file");
        for round in 0..4 {
            // Not so late in a second that the next begins before the second change.
            wait_until("a new second", || {
                SystemTime::now().duration_since(UNIX_EPOCH).is_ok_and(|now| now.subsec_millis() < 200)
            });
            for content in [format!("a{round:02}"), format!("b{round:02}")] {
                fs::write(project.path("tree/f"), &content).expect("file");
                age(&project.path("tree/f"));
                assert_eq!(project.build(), (true, content), "{name}");
            }
        }
    }
}

#[test]
fn a_file_system_that_is_mounted_again_is_still_known() {
    if !is_root_for("a file system that is mounted again") {
        return;
    }
    let kiln = Kiln::new();
    let image = image(&kiln, "ext4", &["mkfs.ext4", "-q", "-F"]);
    let at = kiln.scratch("mounts").join("again");
    let mount = || Mounted::new(at.clone(), &["-o", "loop", text(&image)]);
    let mounted = mount();
    let project = Project::new(&kiln, at.join("context"));
    project.build_until_known();
    drop(mounted);
    // Another file system takes its device number meanwhile.
    let other = kiln.scratch("mounts").join("other");
    let fresh = self::image(&kiln, "other", &["mkfs.ext4", "-q", "-F"]);
    let _other = Mounted::new(other, &["-o", "loop", text(&fresh)]);
    let mounted = mount();
    assert_eq!(project.build(), (false, "one".into()));
    fs::write(project.path("tree/f"), "two").expect("file");
    age(&project.path("tree/f"));
    drop(mounted);
    let _mounted = mount();
    assert_eq!(project.build(), (true, "two".into()));
}

#[test]
fn builds_at_once_keep_what_each_of_them_learnt() {
    let kiln = Kiln::new();
    let project = Project::new(&kiln, kiln.scratch("context"));
    for name in ["f", "g"] {
        fs::write(project.path(&format!("only-{name}")), format!("FROM scratch\nCOPY tree/{name} /\n")).expect("file");
        fs::write(project.path(&format!("only-{name}.dockerignore")), format!("*\n!tree/{name}\n")).expect("file");
    }
    project.settle();
    let start = |name: &str| {
        let dockerfile = project.path(&format!("only-{name}"));
        Running::start(kiln.command(&["build", "-f", text(&dockerfile)]).arg(&project.context))
    };
    let builds: Vec<Running> = ["f", "g", "f", "g", "f", "g"].into_iter().map(start).collect();
    builds.into_iter().for_each(Running::must_succeed);
    // One after the other, so that none is lost to another that saved at the same moment.
    ["f", "g"].into_iter().for_each(|name| start(name).must_succeed());
    assert_eq!(remembered(&kiln), 2);
    fs::write(project.path("tree/g"), "OTHER").expect("file");
    age(&project.path("tree/g"));
    let dockerfile = project.path("only-g");
    let steps = kiln.build(&project.context, &["-f", text(&dockerfile)]);
    assert_eq!(executed(&steps), ["COPY tree/g /"]);
}
