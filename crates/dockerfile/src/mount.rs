//! The options of `RUN --mount=…`. Fields are cut when the Dockerfile is parsed, and understood when the
//! values of variables are known.

use crate::error::{Error, InstructionProblem, LowerProblem, MountProblem, suggestion};
use crate::flags;
use crate::shell::ShellError;

/// The fields of a `--mount`, variables unexpanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFields(pub(crate) Vec<String>);

/// What kind of thing is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MountType {
    /// A path of a stage, an image or a context.
    #[default]
    Bind,
    /// A directory that lives from build to build.
    Cache,
    /// An empty directory in memory.
    Tmpfs,
    /// A secret of the caller's.
    Secret,
    /// A socket to the caller's SSH agent.
    Ssh,
}

const TYPES: [(&str, MountType); 5] = [
    ("bind", MountType::Bind),
    ("cache", MountType::Cache),
    ("tmpfs", MountType::Tmpfs),
    ("secret", MountType::Secret),
    ("ssh", MountType::Ssh),
];

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];

impl MountType {
    /// The name as written in `type=`.
    pub fn as_str(self) -> &'static str {
        TYPES.iter().find(|(_, kind)| *kind == self).map_or("bind", |(name, _)| name)
    }
}

/// How users of one cache mount get along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MountSharing {
    /// All at once.
    Shared,
    /// Each its own.
    Private,
    /// One after the other.
    Locked,
}

impl MountSharing {
    /// The name as written in `sharing=`.
    pub fn as_str(self) -> &'static str {
        match self {
            MountSharing::Shared => "shared",
            MountSharing::Private => "private",
            MountSharing::Locked => "locked",
        }
    }
}

/// A `--mount` that is understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// `type`
    pub kind: MountType,
    /// `from`: a stage, an image or a named context.
    pub from: Option<String>,
    /// `source`
    pub source: Option<String>,
    /// `target`
    pub target: Option<String>,
    /// Whether writes are refused, by the option or the type's default.
    pub read_only: bool,
    /// `size` in bytes.
    pub size: Option<u64>,
    /// `id`
    pub id: Option<String>,
    /// `sharing`
    pub sharing: Option<MountSharing>,
    /// `required`
    pub required: bool,
    /// `env`
    pub env: Option<String>,
    /// `mode`
    pub mode: Option<u32>,
    /// `uid`
    pub uid: Option<u32>,
    /// `gid`
    pub gid: Option<u32>,
}

impl MountFields {
    /// Cuts the flag's value at commas; a field may stand in double quotes.
    pub(crate) fn cut(text: &str) -> Result<MountFields, InstructionProblem> {
        let fields = cut_csv(text).map_err(InstructionProblem::MountList)?;
        let variable = fields.iter().filter_map(|field| field.split_once('='));
        if variable.into_iter().any(|(key, value)| key.eq_ignore_ascii_case("from") && has_variable(value)) {
            return Err(InstructionProblem::MountFromVariable);
        }
        Ok(MountFields(fields))
    }

    /// The `from` option, which holds no variables.
    pub fn from(&self) -> Option<&str> {
        self.option(&["from"])
    }

    /// The last value, as written, of an option that has one of these names.
    pub(crate) fn option(&self, names: &[&str]) -> Option<&str> {
        let pairs = self.0.iter().rev().filter_map(|field| field.split_once('='));
        let named = |(key, _): &(&str, &str)| names.iter().any(|name| key.eq_ignore_ascii_case(name));
        pairs.into_iter().find(named).map(|(_, value)| value)
    }

    /// Understands the options; `expand` gives the value of a word.
    ///
    /// # Errors
    /// An unknown type or option, a value that does not fit, or a word that cannot be expanded. The error
    /// has no span: the caller knows the instruction.
    pub fn understand(&self, expand: &dyn Fn(&str) -> Result<String, ShellError>) -> Result<Mount, Error> {
        let mut mount = Mount::default();
        let mut read_only = None;
        for field in &self.0 {
            let fail = |problem: MountProblem| Error::new(LowerProblem::Mount(problem), None);
            match field.split_once('=') {
                None => mount.bare(field, &mut read_only).map_err(fail)?,
                Some((key, value)) => {
                    let value = expand(value).map_err(|problem| Error::new(LowerProblem::from(problem), None))?;
                    let key = key.to_lowercase();
                    mount.pair(&key, &value, &mut read_only).map_err(|problem| {
                        let meant = match &problem {
                            MountProblem::Type(given) => suggestion(given, TYPES.map(|(name, _)| name)),
                            MountProblem::Key { .. } => suggestion(&key, KEYS),
                            MountProblem::Sharing(given) => suggestion(given, ["shared", "private", "locked"]),
                            _ => None,
                        };
                        fail(problem).suggest(meant)
                    })?;
                }
            }
        }
        mount.read_only = read_only.unwrap_or(!matches!(mount.kind, MountType::Cache | MountType::Tmpfs));
        mount.check().map_err(|problem| Error::new(LowerProblem::Mount(problem), None))?;
        Ok(mount)
    }
}

impl Mount {
    fn wrong_type(&self, key: &str) -> MountProblem {
        MountProblem::KeyForType { key: key.to_owned(), kind: self.kind.as_str().to_owned() }
    }

    fn bare(&mut self, field: &str, read_only: &mut Option<bool>) -> Result<(), MountProblem> {
        match field.to_lowercase().as_str() {
            "readonly" | "ro" => *read_only = Some(true),
            "readwrite" | "rw" => *read_only = Some(false),
            "required" if self.can_be_required() => self.required = true,
            "required" => return Err(self.wrong_type("required")),
            _ => return Err(MountProblem::NoValue(field.to_owned())),
        }
        Ok(())
    }

    fn can_be_required(&self) -> bool {
        matches!(self.kind, MountType::Secret | MountType::Ssh)
    }

    fn pair(&mut self, key: &str, value: &str, read_only: &mut Option<bool>) -> Result<(), MountProblem> {
        let text = || Some(value.to_owned());
        match key {
            "type" => {
                let lower = value.to_lowercase();
                let known = TYPES.iter().find(|(name, _)| *name == lower);
                self.kind = known.ok_or_else(|| MountProblem::Type(value.to_owned()))?.1;
            }
            "from" => self.from = text(),
            "source" | "src" => self.source = text(),
            "target" | "dst" | "destination" => self.target = text(),
            "readonly" | "ro" => *read_only = Some(boolean(key, value)?),
            "readwrite" | "rw" => *read_only = Some(!boolean(key, value)?),
            "required" if self.can_be_required() => self.required = boolean(key, value)?,
            "size" if self.kind == MountType::Tmpfs => self.size = Some(size(key, value)?),
            "required" | "size" => return Err(self.wrong_type(key)),
            "id" => self.id = text(),
            "sharing" => self.sharing = Some(sharing(value)?),
            "mode" => self.mode = Some(number(key, value, 8)?),
            "uid" => self.uid = Some(number(key, value, 10)?),
            "gid" => self.gid = Some(number(key, value, 10)?),
            "env" => self.env = text(),
            _ => return Err(MountProblem::Key { key: key.to_owned(), field: format!("{key}={value}") }),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), MountProblem> {
        let kind = || self.kind.as_str().to_owned();
        if matches!(self.kind, MountType::Bind | MountType::Tmpfs) {
            let given = [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)];
            if let Some((key, _)) = given.into_iter().find(|(_, value)| value.is_some()) {
                return Err(MountProblem::NotAllowed { key, kind: kind() });
            }
        }
        if self.kind == MountType::Secret {
            let named = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
            if named(&self.from) {
                return Err(MountProblem::SecretFrom);
            }
            if self.sharing.is_some() {
                return Err(MountProblem::SecretSharing);
            }
            if !named(&self.source) && !named(&self.target) && !named(&self.id) {
                return Err(MountProblem::SecretName);
            }
            if named(&self.source) && named(&self.id) {
                return Err(MountProblem::SecretTwoNames);
            }
        }
        if self.sharing.is_some() && self.kind != MountType::Cache {
            return Err(MountProblem::SharingForType(kind()));
        }
        Ok(())
    }
}

fn wrong_value(key: &str, value: &str) -> MountProblem {
    MountProblem::Value { key: key.to_owned(), value: value.to_owned() }
}

fn boolean(key: &str, value: &str) -> Result<bool, MountProblem> {
    flags::boolean(value).ok_or_else(|| MountProblem::Boolean { key: key.to_owned(), value: value.to_owned() })
}

fn number(key: &str, value: &str, radix: u32) -> Result<u32, MountProblem> {
    if value.starts_with('+') {
        return Err(wrong_value(key, value));
    }
    u32::from_str_radix(value, radix).map_err(|_| wrong_value(key, value))
}

fn sharing(value: &str) -> Result<MountSharing, MountProblem> {
    match value.to_lowercase().as_str() {
        "shared" => Ok(MountSharing::Shared),
        "private" => Ok(MountSharing::Private),
        "locked" => Ok(MountSharing::Locked),
        _ => Err(MountProblem::Sharing(value.to_owned())),
    }
}

/// A number of bytes such as `64m` or `1.5GiB`; units are powers of 1024.
fn size(key: &str, value: &str) -> Result<u64, MountProblem> {
    let lower = value.to_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let number: f64 = number.parse().map_err(|_| wrong_value(key, value))?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let prefix = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(unit);
    let power = match prefix {
        "" if unit != "ib" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(wrong_value(key, value)),
    };
    Ok((number * 1024f64.powi(power)) as u64)
}

/// Whether something stands behind a `$`.
fn has_variable(value: &str) -> bool {
    value.split_once('$').is_some_and(|(_, name)| !name.is_empty())
}

/// Cuts at commas; a field may stand in double quotes. Says what is wrong with the text.
pub(crate) fn cut_csv(text: &str) -> Result<Vec<String>, &'static str> {
    if text.is_empty() {
        return Err("EOF");
    }
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (field, tail) = rest.split_at(end);
            if field.contains('"') {
                return Err("bare \" in non-quoted field");
            }
            fields.push(field.to_owned());
            match tail.strip_prefix(',') {
                Some(tail) => rest = tail,
                None => return Ok(fields),
            }
            continue;
        };
        let (field, tail) = quoted_field(quoted)?;
        fields.push(field);
        match tail.strip_prefix(',') {
            Some(tail) => rest = tail,
            None if tail.is_empty() => return Ok(fields),
            None => return Err("extraneous or missing \" in quoted-field"),
        }
    }
}

/// The rest of a field after its opening quote; two quotes stand for one.
fn quoted_field(text: &str) -> Result<(String, &str), &'static str> {
    let mut field = String::new();
    let mut rest = text;
    while let Some((inside, tail)) = rest.split_once('"') {
        field.push_str(inside);
        match tail.strip_prefix('"') {
            Some(tail) => {
                field.push('"');
                rest = tail;
            }
            None => return Ok((field, tail)),
        }
    }
    Err("extraneous or missing \" in quoted-field")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn understood(text: &str) -> Result<Mount, String> {
        let fields = MountFields::cut(text).map_err(|problem| problem.to_string())?;
        fields.understand(&|word| Ok(word.replace("$t", "tmpfs"))).map_err(|error| error.to_string())
    }

    #[test]
    fn options_depend_on_the_type_given_before_them() {
        assert_eq!(understood("type=$t,target=/x,size=1.5k").unwrap().size, Some(1536));
        assert_eq!(understood("size=1k,type=tmpfs").unwrap_err(), "unexpected key 'size' for mount type 'bind'");
        assert!(understood("type=bind").unwrap().read_only);
        assert!(!understood("type=cache,target=/c").unwrap().read_only);
        assert!(understood("type=cache,ro=1,target=/c").unwrap().read_only);
    }

    #[test]
    fn fields_may_be_quoted() {
        assert_eq!(understood("target=/x,\"source=a,b\"").unwrap().source.as_deref(), Some("a,b"));
        assert_eq!(understood("").unwrap_err(), "failed to parse csv mounts: EOF");
        assert!(understood("target=a\"b").is_err());
    }

    #[test]
    fn from_takes_no_variables() {
        assert_eq!(
            understood("from=$x").unwrap_err(),
            "'from' doesn't support variable expansion, define alias stage instead"
        );
    }
}
