//! The few regular expressions that ignore patterns become: characters, classes, `.`, `*`, `?`, one level
//! of groups, anchors. Matching is linear in the length of expression times path.

/// A compiled expression, anchored at both ends.
#[derive(Clone, Debug)]
pub(super) struct PathRegex {
    program: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    /// Takes one character.
    Take(Set),
    /// Goes on at either place.
    Fork(usize, usize),
    /// Goes on only if this holds between two characters.
    Assert(Assertion),
}

#[derive(Clone, Copy, Debug)]
enum Assertion {
    Start,
    End,
    WordBoundary(bool),
}

/// A set of characters.
#[derive(Clone, Debug, Default)]
struct Set {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Set {
    fn one(c: char) -> Set {
        Set { negated: false, ranges: vec![(c, c)] }
    }

    /// What `.` stands for.
    fn any() -> Set {
        Set { negated: true, ranges: vec![('\n', '\n')] }
    }

    fn contains(&self, c: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != self.negated
    }

    /// Adds the characters that are not in `ranges`, which are sorted.
    fn add_complement(&mut self, ranges: &[(char, char)]) {
        let mut next = '\0';
        for (low, high) in ranges {
            if let Some(before) = char::from_u32((*low as u32).wrapping_sub(1)).filter(|before| *before >= next) {
                self.ranges.push((next, before));
            }
            next = char::from_u32(*high as u32 + 1).unwrap_or(char::MAX);
        }
        self.ranges.push((next, char::MAX));
    }
}

const DIGITS: &[(char, char)] = &[('0', '9')];
const SPACES: &[(char, char)] = &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')];
const WORDS: &[(char, char)] = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];

impl PathRegex {
    /// `None` when the expression is malformed.
    pub(super) fn parse(text: &str) -> Option<PathRegex> {
        let mut parser = Parser { rest: text, program: Vec::new() };
        while !parser.rest.is_empty() {
            parser.piece()?;
        }
        Some(PathRegex { program: parser.program })
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        let mut active = vec![false; self.program.len() + 1];
        let mut chars = path.chars();
        let mut next = chars.next();
        self.activate(0, &mut active, None, next);
        while let Some(c) = next {
            let after = chars.next();
            let mut following = vec![false; self.program.len() + 1];
            for (place, step) in self.program.iter().enumerate() {
                if let Step::Take(set) = step
                    && active[place]
                    && set.contains(c)
                {
                    self.activate(place + 1, &mut following, Some(c), after);
                }
            }
            active = following;
            next = after;
        }
        active[self.program.len()]
    }

    /// Marks a place and all that it leads to without taking a character.
    fn activate(&self, place: usize, active: &mut [bool], before: Option<char>, after: Option<char>) {
        let mut pending = vec![place];
        while let Some(place) = pending.pop() {
            if std::mem::replace(&mut active[place], true) {
                continue;
            }
            match self.program.get(place) {
                Some(Step::Fork(one, other)) => pending.extend([*one, *other]),
                Some(Step::Assert(assertion)) if assertion.holds(before, after) => pending.push(place + 1),
                _ => {}
            }
        }
    }
}

impl Assertion {
    fn holds(self, before: Option<char>, after: Option<char>) -> bool {
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        match self {
            Assertion::Start => before.is_none(),
            Assertion::End => after.is_none(),
            Assertion::WordBoundary(wanted) => (is_word(before) != is_word(after)) == wanted,
        }
    }
}

/// What an escape stands for.
enum Escape {
    Set(Set),
    Assertion(Assertion),
}

struct Parser<'a> {
    rest: &'a str,
    program: Vec<Step>,
}

impl Parser<'_> {
    fn take(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn accept(&mut self, c: char) -> bool {
        let found = self.rest.strip_prefix(c);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    /// A character, class or group with what follows it.
    fn piece(&mut self) -> Option<()> {
        let start = self.program.len();
        match self.take()? {
            '(' => {
                while !self.accept(')') {
                    self.piece()?;
                }
            }
            '[' => {
                let set = self.class()?;
                self.program.push(Step::Take(set));
            }
            '^' => self.program.push(Step::Assert(Assertion::Start)),
            '$' => self.program.push(Step::Assert(Assertion::End)),
            '.' => self.program.push(Step::Take(Set::any())),
            '\\' => match self.escape()? {
                Escape::Set(set) => self.program.push(Step::Take(set)),
                Escape::Assertion(assertion) => self.program.push(Step::Assert(assertion)),
            },
            '*' | '?' => return None,
            c => self.program.push(Step::Take(Set::one(c))),
        }
        self.quantify(start);
        Some(())
    }

    /// Makes what was added since `start` optional or repeated. It is moved by one place to make room.
    fn quantify(&mut self, start: usize) {
        let repeated = self.accept('*');
        if !repeated && !self.accept('?') {
            return;
        }
        for step in &mut self.program[start..] {
            if let Step::Fork(one, other) = step {
                *one += 1;
                *other += 1;
            }
        }
        let end = self.program.len() + 1 + usize::from(repeated);
        self.program.insert(start, Step::Fork(start + 1, end));
        if repeated {
            self.program.push(Step::Fork(start, start));
        }
    }

    fn escape(&mut self) -> Option<Escape> {
        let c = self.take()?;
        let assertion = match c {
            'A' => Assertion::Start,
            'z' => Assertion::End,
            'b' => Assertion::WordBoundary(true),
            'B' => Assertion::WordBoundary(false),
            c => return self.escaped_set(c).map(Escape::Set),
        };
        Some(Escape::Assertion(assertion))
    }

    /// The characters that an escape stands for.
    fn escaped_set(&mut self, c: char) -> Option<Set> {
        let mut set = Set::default();
        match c {
            'd' => set.ranges.extend(DIGITS),
            's' => set.ranges.extend(SPACES),
            'w' => set.ranges.extend(WORDS),
            'D' => set.add_complement(DIGITS),
            'S' => set.add_complement(SPACES),
            'W' => set.add_complement(WORDS),
            c => return self.escaped_char(c).map(Set::one),
        }
        Some(set)
    }

    fn escaped_char(&mut self, c: char) -> Option<char> {
        match c {
            'a' => Some('\x07'),
            'f' => Some('\x0c'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\x0b'),
            'x' => {
                let digits = self.rest.get(..2)?;
                self.rest = &self.rest[2..];
                u8::from_str_radix(digits, 16).ok().map(char::from)
            }
            '0'..='7' => self.octal(c),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(c),
            _ => None,
        }
    }

    /// `\0`, `\12`, `\123`; a single digit other than zero would be a back reference.
    fn octal(&mut self, first: char) -> Option<char> {
        let mut value = first.to_digit(8)?;
        let mut length = 1;
        while let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)).filter(|_| length < 3) {
            value = value * 8 + digit;
            self.rest = &self.rest[1..];
            length += 1;
        }
        if length == 1 && first != '0' { None } else { char::from_u32(value) }
    }

    /// A class after its `[`.
    fn class(&mut self) -> Option<Set> {
        let negated = self.accept('^');
        let mut set = Set::default();
        let mut first = true;
        while first || !self.accept(']') {
            first = false;
            let low = match self.take()? {
                '\\' => {
                    let c = self.take()?;
                    let mut escaped = self.escaped_set(c)?;
                    match escaped.ranges.as_slice() {
                        [(low, high)] if low == high => *low,
                        _ => {
                            set.ranges.append(&mut escaped.ranges);
                            continue;
                        }
                    }
                }
                c => c,
            };
            let high = if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.take();
                self.class_char()?
            } else {
                low
            };
            if high < low {
                return None;
            }
            set.ranges.push((low, high));
        }
        set.negated = negated;
        Some(set)
    }

    fn class_char(&mut self) -> Option<char> {
        match self.take()? {
            '\\' => {
                let c = self.take()?;
                self.escaped_char(c)
            }
            c => Some(c),
        }
    }
}
