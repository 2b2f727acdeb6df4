//! What a stage has become so far: root file system, variables, and the image's config.

use std::collections::BTreeMap;
use std::rc::Rc;

use kiln_graph::{Chain, VertexId};
use kiln_oci::{ContainerConfig, HistoryEntry, ImageConfig, Platform};

use crate::environment::Environment;
use crate::options::PlanOptions;
use crate::path;
use crate::shell::Variables as _;

use super::history;
use super::image_env::ImageEnv;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Arguments that speak to the builder only.
const NOT_FOR_PROCESSES: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// A stage under construction. A copy of it shares what is large: a stage on a stage costs what it adds.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The root file system; `None` while it is empty.
    pub(super) root: Option<VertexId>,
    /// ENV and ARG values.
    pub(super) environment: Environment,
    /// The working directory of processes, clean and absolute.
    pub(super) directory: String,
    /// ARG declarations in order, for the history.
    pub(super) arguments: Chain<Declared>,
    /// The config without its container part and its history.
    image: Rc<ImageConfig>,
    history: Chain<HistoryEntry>,
    /// The container part of the config without its variables.
    container: Rc<ContainerConfig>,
    image_env: Rc<ImageEnv>,
    /// Whether the environment ends with the image's variables, in their order and with their values.
    in_order: bool,
    /// Whether CMD was given in this very stage.
    pub(super) command_given: bool,
    /// What is built for.
    pub(super) platform: Platform,
    /// What displays call the stage; empty when it is the only one.
    pub(super) label: String,
    /// How many steps displays count.
    pub(super) steps: usize,
    /// How many history entries came with the base image.
    pub(super) inherited_history: usize,
    step: usize,
}

/// An ARG as it was declared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) value: Option<String>,
}

impl State {
    /// A stage on nothing.
    pub(super) fn empty(platform: &Platform) -> State {
        let image = ImageConfig {
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            os: platform.os.clone(),
            ..ImageConfig::default()
        };
        State {
            root: None,
            environment: Environment::default(),
            directory: "/".to_owned(),
            arguments: Chain::default(),
            image: Rc::new(image),
            history: Chain::default(),
            container: Rc::default(),
            image_env: Rc::default(),
            in_order: false,
            command_given: false,
            platform: platform.clone(),
            label: String::new(),
            steps: 0,
            inherited_history: 0,
            step: 0,
        }
    }

    /// The same as the start of a stage with this label and so many steps.
    pub(super) fn begin(self, label: &str, steps: usize) -> State {
        State { label: label.to_owned(), steps, step: 0, command_given: false, ..self }
    }

    /// Takes over the config of a base image.
    pub(super) fn take_config(&mut self, config: &ImageConfig) {
        let mut container = config.container();
        self.image_env = Rc::new(ImageEnv::of_base(std::mem::take(&mut container.env)));
        self.container = Rc::new(container);
        self.history = config.history.iter().cloned().collect();
        self.inherited_history = self.history.len();
        self.image = Rc::new(ImageConfig { config: None, history: Vec::new(), ..config.clone() });
    }

    /// What happens before the first instruction. `bare` is a stage without an image below.
    pub(super) fn start(&mut self, bare: bool) {
        if bare {
            self.container_mut().working_dir = "/".to_owned();
        }
        if !self.image_env.contains("PATH") {
            Rc::make_mut(&mut self.image_env).set("PATH", DEFAULT_PATH);
        }
        if !self.in_order {
            for (name, value) in self.image_env.pairs() {
                self.environment.set(name, value);
            }
            self.in_order = true;
        }
        if !self.container.working_dir.is_empty() {
            self.directory = path::clean_absolute(&self.container.working_dir);
        }
        if !self.container.on_build.is_empty() {
            self.container_mut().on_build.clear();
        }
    }

    /// The container part of the config without its variables.
    pub(super) fn container(&self) -> &ContainerConfig {
        &self.container
    }

    pub(super) fn container_mut(&mut self) -> &mut ContainerConfig {
        Rc::make_mut(&mut self.container)
    }

    pub(super) fn set_author(&mut self, name: &str) {
        Rc::make_mut(&mut self.image).author = Some(name.to_owned());
    }

    /// The shell form of a command as a command line.
    pub(super) fn with_shell(&self, line: &str) -> Vec<String> {
        let mut words = if self.container.shell.is_empty() {
            DEFAULT_SHELL.map(str::to_owned).to_vec()
        } else {
            self.container.shell.clone()
        };
        words.push(line.to_owned());
        words
    }

    /// Sets a variable of the image and of what follows.
    pub(super) fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.set(name, value);
        // A name that is set again moves in the environment, not in the image.
        if Rc::make_mut(&mut self.image_env).set(name, value) {
            self.in_order = false;
        }
    }

    /// Declares an argument, which is no variable of the image.
    pub(super) fn declare(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value.as_ref().filter(|_| !NOT_FOR_PROCESSES.contains(&name)) {
            self.environment.set(name, value);
            self.in_order = false;
        }
        self.arguments.push(Declared { name: name.to_owned(), value });
    }

    /// Notes an instruction that makes no layer.
    pub(super) fn note(&mut self, text: String) {
        self.history.push(history::entry(text, true));
    }

    /// Notes an instruction that makes a layer.
    pub(super) fn note_layer(&mut self, text: String) {
        self.history.push(history::entry(text, false));
    }

    /// `->arm64`, where the stage was told of another target than what it runs on.
    fn crossing(&self) -> String {
        let Some(target) = self.told_target() else { return String::new() };
        let text = target.to_string();
        let own = &self.platform;
        match text.split_once('/') {
            Some((_, shorter)) if target.os == own.os => match target.architecture == own.architecture {
                true => String::new(),
                false => format!("->{shorter}"),
            },
            _ => format!("->{text}"),
        }
    }

    /// The target as far as the stage was told; what it was not told is what it runs on.
    fn told_target(&self) -> Option<Platform> {
        let told = |name: &str| self.environment.value(name).filter(|value| !value.is_empty());
        if let Some(platform) = told("TARGETPLATFORM").and_then(|text| text.parse().ok()) {
            return Some(platform);
        }
        let (os, architecture, variant) = (told("TARGETOS"), told("TARGETARCH"), told("TARGETVARIANT"));
        if os.is_none() && architecture.is_none() && variant.is_none() {
            return None;
        }
        let (os, architecture) = (os.unwrap_or(&self.platform.os), architecture.unwrap_or(&self.platform.architecture));
        let words = [Some(os), Some(architecture), variant];
        words.into_iter().flatten().collect::<Vec<_>>().join("/").parse().ok()
    }

    /// `[stage 2/5] `, counting one further.
    pub(super) fn prefix(&mut self, options: &PlanOptions) -> String {
        if self.steps == 0 {
            return String::new();
        }
        self.step += 1;
        let platform = match options.multi_platform {
            true => format!("{}{} ", self.platform, self.crossing()),
            false => String::new(),
        };
        let label = if self.label.is_empty() { String::new() } else { format!("{} ", self.label) };
        let width = self.steps.to_string().len();
        format!("[{platform}{label}{:>width$}/{}] ", self.step, self.steps)
    }

    /// The finished config, with the labels of the command line.
    pub(super) fn into_config(self, labels: &BTreeMap<String, String>) -> ImageConfig {
        let mut container = Rc::unwrap_or_clone(self.container);
        container.env = Rc::unwrap_or_clone(self.image_env).into_entries();
        container.labels.extend(labels.iter().map(|(name, value)| (name.clone(), value.clone())));
        let mut image = Rc::unwrap_or_clone(self.image);
        image.rootfs.diff_ids.clear();
        image.history = self.history.oldest_first().into_iter().cloned().collect();
        image.config = Some(container);
        image
    }
}
