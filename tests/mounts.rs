//! What a RUN can ask for beside its command: mounts of every type, the network, more rights.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kiln_tests::is_root_for;
use kiln_tests::kiln::{Answer, Kiln, answer, tool};
use kiln_tests::user::User;

/// Sends one message to an agent and prints the answer, both in hexadecimal.
const ASK: &str = r#"use IO::Socket::UNIX;
my $agent = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "connect: $!";
my $message = pack("H*", $ARGV[1]);
syswrite($agent, pack("N", length $message) . $message);
my ($length, $answer) = ("", "");
while (length $length < 4) { sysread($agent, $length, 4 - length $length, length $length) or die "no answer" }
my $wanted = unpack("N", $length);
while (length $answer < $wanted) { sysread($agent, $answer, $wanted - length $answer, length $answer) or die "short" }
print unpack("H*", $answer), "\n";
"#;

const LIST: &str = "0b";

/// An agent with one key; killed when dropped.
struct Agent {
    process: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(directory: &Path, key: &Path) -> Agent {
        let socket = directory.join("agent");
        let mut command = Command::new("ssh-agent");
        let process = command.args(["-D", "-a", text(&socket)]).stdout(Stdio::null()).spawn().expect("ssh-agent");
        let agent = Agent { process, socket };
        let mut add = Command::new("ssh-add");
        add.args(["-q", text(key)]).env("SSH_AUTH_SOCK", &agent.socket).stderr(Stdio::null());
        // The socket appears soon after the start.
        while !add.status().expect("ssh-add").success() {
            std::thread::yield_now();
        }
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}

/// Makes a key and returns its file and its public part in hexadecimal.
fn key(directory: &Path, kind: &str) -> (PathBuf, String) {
    let path = directory.join(kind);
    tool("ssh-keygen", &["-q", "-t", kind, "-N", "", "-C", "", "-f", text(&path)]);
    let public = fs::read_to_string(path.with_extension("pub")).expect("public key");
    let encoded = public.split(' ').nth(1).expect("key").trim();
    let decoded = tool("sh", &["-c", &format!("echo {encoded} | base64 -d | od -An -v -tx1 | tr -d ' \\n'")]);
    (path, decoded)
}

/// Builds a Dockerfile whose last stage is `FROM scratch` and returns the directory that came out.
#[track_caller]
fn output(kiln: &Kiln, dockerfile: &str, flags: &[&str]) -> PathBuf {
    let context = context(kiln, dockerfile);
    let out = kiln.scratch("out");
    let mut all = vec!["-o", text(&out)];
    all.extend(flags);
    kiln.build(&context, &all);
    out
}

#[track_caller]
fn fails(kiln: &Kiln, dockerfile: &str, flags: &[&str], words: &[&str]) -> Answer {
    let context = context(kiln, dockerfile);
    let answer = kiln.fails(&[&["build", "--progress", "plain"], flags, &[text(&context)]].concat(), words);
    assert_eq!(answer.code(), 1, "{answer}");
    answer
}

fn context(kiln: &Kiln, dockerfile: &str) -> PathBuf {
    let context = kiln.scratch("context");
    fs::write(context.join("Dockerfile"), dockerfile).expect("Dockerfile");
    fs::write(context.join("ask.pl"), ASK).expect("ask.pl");
    context
}

fn with(base: &str) -> Kiln {
    let kiln = Kiln::on_fresh_disk();
    kiln.load(base);
    kiln
}

#[track_caller]
fn read(out: &Path, name: &str) -> String {
    fs::read_to_string(out.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn an_agent_lists_and_signs_while_the_step_runs() {
    let kiln = with("debian");
    let place = kiln.scratch("keys");
    let (first, first_public) = key(&place, "ed25519");
    let (second, second_public) = key(&place, "rsa");
    let agent = Agent::start(&place, &first);
    let sign = format!("0d{:08x}{first_public}0000000464617461{:08x}", first_public.len() / 2, 0);
    let dockerfile = format!(
        "FROM debian:bookworm AS run
COPY ask.pl /
RUN --mount=type=ssh --mount=type=ssh,id=other,mode=0666 mkdir /out; \\
    perl /ask.pl $SSH_AUTH_SOCK {LIST} > /out/list; perl /ask.pl $SSH_AUTH_SOCK {sign} > /out/signature; \\
    perl /ask.pl $SSH_AUTH_SOCK 13 > /out/remove-all; perl /ask.pl /run/buildkit/ssh_agent.1 {LIST} > /out/other; \\
    stat -c '%a %u %g %F' /run/buildkit/ssh_agent.0 /run/buildkit/ssh_agent.1 > /out/stat
RUN ls -d /run/buildkit /run/* > /out/left; echo \"[$SSH_AUTH_SOCK]\" > /out/variable
FROM scratch
COPY --from=run /out /
"
    );
    let default = format!("default={}", text(&agent.socket));
    let other = format!("other={}", text(&second));
    let out = output(&kiln, &dockerfile, &["--ssh", &default, "--ssh", &other]);
    assert!(read(&out, "list").starts_with("0c00000001"), "{}", read(&out, "list"));
    assert!(read(&out, "list").contains(&first_public));
    assert!(read(&out, "other").contains(&second_public));
    assert!(read(&out, "signature").starts_with("0e"), "{}", read(&out, "signature"));
    assert_eq!(read(&out, "remove-all"), "05\n", "a step cannot remove the user's keys");
    assert_eq!(read(&out, "stat"), "600 0 0 socket\n666 0 0 socket\n");
    assert!(!read(&out, "left").contains("buildkit"), "{}", read(&out, "left"));
    assert_eq!(read(&out, "variable"), "[]\n");
    let mut listed = Command::new("ssh-add");
    listed.args(["-l"]).env("SSH_AUTH_SOCK", &agent.socket).stdout(Stdio::null());
    assert!(listed.status().expect("ssh-add").success(), "the agent still has its key");
}

#[test]
fn an_ssh_connection_ends_with_its_step() {
    let kiln = with("debian");
    let place = kiln.scratch("keys");
    let (first, _) = key(&place, "ed25519");
    // A process that the step leaves behind holds its connection open, and is killed with the step.
    let dockerfile = "FROM debian:bookworm
RUN --mount=type=ssh perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(Peer => $ENV{SSH_AUTH_SOCK}) or die; fork or sleep 1000; print \"left\\n\"'
";
    let context = context(&kiln, dockerfile);
    kiln.build(&context, &["--ssh", &format!("default={}", text(&first))]);
}

#[test]
fn agents_without_privileges() {
    if !is_root_for("SSH agents as other users") {
        return;
    }
    for user in [User::with_subordinate_ids(), User::with_single_id()] {
        let kiln = Kiln::of(user);
        kiln.load("debian");
        let place = kiln.scratch("keys");
        let (first, public) = key(&place, "ed25519");
        tool("chmod", &["0644", text(&first)]);
        let dockerfile = format!(
            "FROM debian:bookworm AS run\nCOPY ask.pl /\nRUN --mount=type=ssh,uid=9,mode=0640 perl /ask.pl $SSH_AUTH_SOCK {LIST} > /list; stat -c %a $SSH_AUTH_SOCK >> /list\nRUN grep -q {public} /list && tail -n 1 /list | grep -qx 640\n"
        );
        let context = context(&kiln, &dockerfile);
        kiln.build(&context, &["--ssh", &format!("default={}", text(&first))]);
    }
}

#[test]
fn an_agent_that_is_missing() {
    let kiln = with("busybox");
    let optional = "FROM busybox AS run\nRUN --mount=type=ssh,target=/a --mount=type=ssh,target=/b test ! -e /a && echo $SSH_AUTH_SOCK > /o\nFROM scratch\nCOPY --from=run /o /\n";
    assert_eq!(read(&output(&kiln, optional, &[]), "o"), "/a\n");
    let required = "FROM busybox\nRUN --mount=type=ssh,required true\n";
    fails(&kiln, required, &[], &["Dockerfile:2", "no SSH key \"default\" forwarded from the client"]);
    let context = context(&kiln, required);
    let unset = kiln.command(&["build", "--ssh", "default", text(&context)]).env_remove("SSH_AUTH_SOCK").output();
    let said = String::from_utf8_lossy(&unset.expect("kiln").stderr).into_owned();
    assert!(said.contains("make sure SSH_AUTH_SOCK is set"), "{said}");
}

/// As in BuildKit, the directory itself is the seed's too, whatever the mount's options say.
#[test]
fn a_cache_starts_as_its_seed_with_owners() {
    let kiln = with("busybox");
    let dockerfile = "FROM busybox AS seed
RUN mkdir -p /s/d && chmod 750 /s && chown 7:8 /s && echo one > /s/d/f && chown 5:6 /s/d/f && chmod 4750 /s/d/f && ln -s f /s/d/l
FROM busybox AS run
RUN --mount=type=cache,id=c,from=seed,source=/s,target=/c,uid=3,gid=4,mode=0711 mkdir /out; stat -c '%a %u %g' /c /c/d/f > /out/stat; readlink /c/d/l >> /out/stat; echo two > /c/d/f
RUN --mount=type=cache,id=c,from=seed,source=/s,target=/c cat /c/d/f >> /out/stat
RUN --mount=type=cache,id=c,target=/c,readonly echo x > /c/x || echo refused >> /out/stat
FROM scratch
COPY --from=run /out /
";
    assert_eq!(read(&output(&kiln, dockerfile, &[]), "stat"), "750 7 8\n4750 5 6\nf\ntwo\nrefused\n");
}

#[test]
fn other_mounts_have_what_their_options_say() {
    let kiln = with("busybox");
    let secret = kiln.scratch("secret").join("s");
    fs::write(&secret, "hush").expect("secret");
    let dockerfile = "FROM busybox AS run
RUN --mount=type=tmpfs,target=/t,size=1m mkdir /out; stat -f -c '%b %S' /t | { read b s; echo tmpfs $((b * s)); } > /out/all; touch /t/x
RUN --mount=type=secret,id=s,uid=7,gid=8,mode=0640 stat -c '%a %u %g' /run/secrets/s >> /out/all
RUN --mount=type=secret,id=s,env=S echo $S >> /out/all; test ! -e /run/secrets/s && echo no file >> /out/all
RUN --mount=type=bind,source=ask.pl,target=/b,rw echo changed > /b && cat /b >> /out/all
RUN --mount=type=bind,source=ask.pl,target=/b echo changed > /b || echo refused >> /out/all
FROM scratch
COPY --from=run /out /
";
    let out = output(&kiln, dockerfile, &["--secret", &format!("id=s,src={}", text(&secret))]);
    assert_eq!(read(&out, "all"), "tmpfs 1048576\n640 7 8\nhush\nno file\nchanged\nrefused\n");
    fails(
        &kiln,
        "FROM busybox\nRUN --mount=type=secret,id=s,required true\n",
        &[],
        &["Dockerfile:2", "secret s: not found"],
    );
}

#[test]
fn nothing_can_be_mounted_too() {
    let kiln = with("busybox");
    fs::create_dir(kiln.scratch("context").join("void")).expect("directory");
    let dockerfile = "FROM scratch AS nothing
FROM busybox AS run
RUN --mount=source=void,target=/a --mount=from=nothing,target=/b ls -A /a /b > /list
FROM scratch
COPY --from=run /list /
";
    assert_eq!(read(&output(&kiln, dockerfile, &[]), "list"), "/a:\n\n/b:\n");
}

#[test]
fn networks_and_rights() {
    let kiln = with("busybox");
    let dockerfile = "FROM busybox AS run
RUN mkdir /out; grep CapEff /proc/self/status > /out/sandbox
RUN --security=insecure grep CapEff /proc/self/status > /out/insecure; touch /proc/sys/kernel/hostname && echo writable >> /out/insecure
RUN --network=none ls /sys/class/net | tr '\\n' ' ' > /out/none
RUN --network=host ls /sys/class/net | tr '\\n' ' ' > /out/host
FROM scratch
COPY --from=run /out /
";
    for (missing, given) in [("security.insecure", "network.host"), ("network.host", "security.insecure")] {
        fails(&kiln, dockerfile, &["--allow", given], &[&format!("{missing} is not allowed"), "--allow"]);
    }
    let out = output(&kiln, dockerfile, &["--allow", "security.insecure,network.host"]);
    assert!(read(&out, "sandbox").contains("00000000a80425fb"));
    let capabilities =
        |name: &str| u64::from_str_radix(read(&out, name).split_whitespace().nth(1).expect("set"), 16).expect("set");
    assert!(capabilities("insecure") > capabilities("sandbox"));
    assert!(read(&out, "insecure").contains("writable"));
    assert_eq!(read(&out, "none"), "lo ");
    assert!(read(&out, "host").contains("lo"));
}

/// Puts `$0` into the directory of CDI specifications as this process sees it, and runs the rest.
const WITH_DEVICE: &str =
    r#"mount -t tmpfs none /run && mkdir /run/cdi && printf %s "$0" > /run/cdi/kiln-test.yaml && exec "$@""#;

#[test]
fn devices_by_their_cdi_names() {
    if !is_root_for("devices") {
        return;
    }
    let kiln = with("busybox");
    let library = kiln.scratch("library");
    fs::write(library.join("lib"), "driver").expect("lib");
    let specification = format!(
        "cdiVersion: '0.6.0'
kind: kiln.test/device
devices:
- name: sink
  containerEdits:
    env: [SINK=/dev/sink]
    deviceNodes: [{{path: /dev/sink, hostPath: /dev/null}}]
    mounts: [{{hostPath: {}, containerPath: /opt/driver, options: [ro]}}]
- name: hooked
  containerEdits:
    hooks: [{{hookName: createContainer, path: /bin/true}}]
",
        library.display()
    );
    let build = |dockerfile: &str, flags: &[&str]| {
        let context = context(&kiln, dockerfile);
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", WITH_DEVICE, &specification]);
        command.arg(kiln.program()).args(["build", "-q"]).args(flags).arg(&context);
        answer(command.envs(kiln.environment()).stdin(Stdio::null()))
    };
    let dockerfile = "FROM busybox AS run
RUN --device=kiln.test/device=sink,required mkdir /out; echo gone > $SINK && test -c $SINK && cat $SINK /opt/driver/lib > /out/o; touch /opt/driver/x || echo refused >> /out/o
RUN --device=other.test/device=none ls /dev >> /out/o
FROM scratch
COPY --from=run /out /
";
    let refused = build(dockerfile, &[]);
    assert!(refused.stderr.contains("device=kiln.test/device=sink is not allowed"), "{refused}");
    let out = kiln.scratch("out");
    build(dockerfile, &["--allow", "device=kiln.test/device", "-o", text(&out)]).succeeded();
    let said = read(&out, "o");
    assert!(said.starts_with("driverrefused\n") && !said.contains("sink"), "{said}");
    let missing = build("FROM busybox\nRUN --device=kiln.test/device=no,required true\n", &["--allow", "device"]);
    assert!(missing.stderr.contains("required device \"kiln.test/device=no\" is not registered"), "{missing}");
    let hooked = build("FROM busybox\nRUN --device=kiln.test/device=hooked true\n", &["--allow", "device"]);
    assert!(hooked.stderr.contains("asks for hooks"), "{hooked}");
}
