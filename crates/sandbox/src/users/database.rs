//! Lines of `/etc/passwd` and `/etc/group`. Lines that make no sense are skipped, as libc does.

/// The largest id that docker takes.
pub(super) const ID_LIMIT: u32 = i32::MAX as u32;

/// One line of `/etc/passwd`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PasswdEntry<'a> {
    pub(super) name: &'a [u8],
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: &'a [u8],
}

/// One line of `/etc/group`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GroupEntry<'a> {
    pub(super) name: &'a [u8],
    pub(super) gid: u32,
    members: &'a [u8],
}

impl GroupEntry<'_> {
    pub(super) fn has_member(&self, name: &[u8]) -> bool {
        self.members.split(|b| *b == b',').any(|member| member.trim_ascii() == name)
    }
}

pub(super) fn passwd(bytes: &[u8]) -> impl Iterator<Item = PasswdEntry<'_>> {
    lines(bytes).filter_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let _password = fields.next()?;
        let uid = number(fields.next()?)?;
        let gid = number(fields.next()?)?;
        let _comment = fields.next();
        let home = fields.next().unwrap_or_default();
        Some(PasswdEntry { name, uid, gid, home })
    })
}

pub(super) fn group(bytes: &[u8]) -> impl Iterator<Item = GroupEntry<'_>> {
    lines(bytes).filter_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let _password = fields.next()?;
        let gid = number(fields.next()?)?;
        Some(GroupEntry { name, gid, members: fields.next().unwrap_or_default() })
    })
}

/// A decimal id without sign, as the files and `user[:group]` spell it.
pub(super) fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}
