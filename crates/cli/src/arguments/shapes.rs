//! Usage lines of all commands, and how many words each takes.

/// How many words besides flags a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    None,
    Exactly(usize),
    AtLeast(usize),
    AtMost(usize),
    Between(usize, usize),
}

use Words::{AtLeast, AtMost, Between, Exactly, None as NoWords};

/// Path of the command, what stands behind it in its usage line, words.
const SHAPES: &[(&str, &str, Words)] = &[
    ("build", "[OPTIONS] PATH | URL | -", Exactly(1)),
    ("builder build", "[OPTIONS] PATH | URL | -", Exactly(1)),
    ("builder prune", "[OPTIONS]", NoWords),
    ("buildx build", "[OPTIONS] PATH | URL | -", Exactly(1)),
    ("buildx prune", "[OPTIONS]", NoWords),
    ("commit", "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]", Between(1, 2)),
    ("container commit", "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]", Between(1, 2)),
    ("container create", "[OPTIONS] IMAGE [COMMAND] [ARG...]", AtLeast(1)),
    ("container export", "[OPTIONS] CONTAINER", Exactly(1)),
    ("container inspect", "[OPTIONS] CONTAINER [CONTAINER...]", AtLeast(1)),
    ("container ls", "[OPTIONS]", NoWords),
    ("container prune", "[OPTIONS]", NoWords),
    ("container rm", "[OPTIONS] CONTAINER [CONTAINER...]", AtLeast(1)),
    ("container run", "[OPTIONS] IMAGE [COMMAND] [ARG...]", AtLeast(1)),
    ("container start", "[OPTIONS] CONTAINER [CONTAINER...]", AtLeast(1)),
    ("create", "[OPTIONS] IMAGE [COMMAND] [ARG...]", AtLeast(1)),
    ("export", "[OPTIONS] CONTAINER", Exactly(1)),
    ("history", "[OPTIONS] IMAGE", Exactly(1)),
    ("image build", "[OPTIONS] PATH | URL | -", Exactly(1)),
    ("image history", "[OPTIONS] IMAGE", Exactly(1)),
    ("image import", "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]", AtLeast(1)),
    ("image inspect", "[OPTIONS] IMAGE [IMAGE...]", AtLeast(1)),
    ("image load", "[OPTIONS]", NoWords),
    ("image ls", "[OPTIONS] [REPOSITORY[:TAG]]", AtMost(1)),
    ("image prune", "[OPTIONS]", NoWords),
    ("image pull", "[OPTIONS] NAME[:TAG|@DIGEST]", Exactly(1)),
    ("image push", "[OPTIONS] NAME[:TAG]", Exactly(1)),
    ("image rm", "[OPTIONS] IMAGE [IMAGE...]", AtLeast(1)),
    ("image save", "[OPTIONS] IMAGE [IMAGE...]", AtLeast(1)),
    ("image tag", "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", Exactly(2)),
    ("images", "[OPTIONS] [REPOSITORY[:TAG]]", AtMost(1)),
    ("import", "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]", AtLeast(1)),
    ("info", "[OPTIONS]", NoWords),
    ("inspect", "[OPTIONS] NAME|ID [NAME|ID...]", AtLeast(1)),
    ("lint", "[OPTIONS] [PATH]", AtMost(1)),
    ("load", "[OPTIONS]", NoWords),
    ("login", "[OPTIONS] [SERVER]", AtMost(1)),
    ("logout", "[SERVER]", AtMost(1)),
    ("ps", "[OPTIONS]", NoWords),
    ("pull", "[OPTIONS] NAME[:TAG|@DIGEST]", Exactly(1)),
    ("push", "[OPTIONS] NAME[:TAG]", Exactly(1)),
    ("registry gc", "[OPTIONS]", NoWords),
    ("registry ls", "[OPTIONS] [REPOSITORY]", AtMost(1)),
    ("registry serve", "[OPTIONS]", NoWords),
    ("rm", "[OPTIONS] CONTAINER [CONTAINER...]", AtLeast(1)),
    ("rmi", "[OPTIONS] IMAGE [IMAGE...]", AtLeast(1)),
    ("run", "[OPTIONS] IMAGE [COMMAND] [ARG...]", AtLeast(1)),
    ("save", "[OPTIONS] IMAGE [IMAGE...]", AtLeast(1)),
    ("start", "[OPTIONS] CONTAINER [CONTAINER...]", AtLeast(1)),
    ("system df", "[OPTIONS]", NoWords),
    ("system info", "[OPTIONS]", NoWords),
    ("system prune", "[OPTIONS]", NoWords),
    ("tag", "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", Exactly(2)),
    ("version", "[OPTIONS]", NoWords),
    ("volume inspect", "[OPTIONS] VOLUME [VOLUME...]", AtLeast(1)),
    ("volume ls", "[OPTIONS]", NoWords),
];

/// Commands of docker's that kiln does not have yet, by the group that they are in.
const LATER: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "attach",
            "checkpoint",
            "compose",
            "config",
            "context",
            "cp",
            "diff",
            "events",
            "exec",
            "kill",
            "logs",
            "manifest",
            "network",
            "node",
            "pause",
            "plugin",
            "port",
            "rename",
            "restart",
            "search",
            "secret",
            "service",
            "stack",
            "stats",
            "stop",
            "swarm",
            "top",
            "trust",
            "unpause",
            "update",
            "wait",
        ],
    ),
    (
        "buildx",
        &[
            "bake",
            "create",
            "dap",
            "debug",
            "dial-stdio",
            "du",
            "history",
            "imagetools",
            "inspect",
            "ls",
            "policy",
            "rm",
            "stop",
            "use",
            "version",
        ],
    ),
    (
        "container",
        &[
            "attach", "cp", "diff", "exec", "kill", "logs", "pause", "port", "rename", "restart", "stats", "stop",
            "top", "unpause", "update", "wait",
        ],
    ),
    ("system", &["dial-stdio", "events"]),
    ("volume", &["create", "prune", "rm", "update"]),
];

/// The usage line of the command at `path`.
pub(super) fn usage(program: &str, path: &str) -> String {
    match shape(path) {
        Some((usage, _)) => format!("{program} {path} {usage}").trim_end().to_owned(),
        None if path.is_empty() => format!("{program} [OPTIONS] COMMAND"),
        None => format!("{program} {path} COMMAND"),
    }
}

/// How many words the command at `path` takes; `None` for a group of commands.
pub(super) fn words(path: &str) -> Option<Words> {
    shape(path).map(|(_, words)| words)
}

fn shape(path: &str) -> Option<(&'static str, Words)> {
    SHAPES.iter().find(|(known, ..)| *known == path).map(|(_, usage, words)| (*usage, *words))
}

/// Whether docker has a command of this name in this group that kiln will have.
pub(super) fn comes_later(group: &str, name: &str) -> bool {
    LATER.iter().any(|(known, names)| *known == group && names.contains(&name))
}
