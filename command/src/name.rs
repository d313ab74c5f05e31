//! Names of files that a command writes. A name has no folder: everything goes into the one that the worker gives.

use std::fmt;

use crate::{
    error::{Problem, not_ascii},
    kind::shown,
    table::TABLES,
};

/// Bytes of the longest name: room for what ffmpeg appends while it writes.
const MAX_LENGTH: usize = 100;

/// Extensions of files that belong to an output without being one.
const SEGMENTS: [&str; 5] = ["ts", "m4s", "mp4", "vtt", "aac"];

/// A file's name, or a pattern of names: with `%d` or `%03d` for a number, and in HLS `%v` for a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// What a name is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Output,
    Segment,
    Init,
    Master,
}

impl Role {
    /// # Panics
    /// There is none of that name: the tables are part of the program.
    pub(crate) fn of_table(word: &str) -> Self {
        match word {
            "segment" => Self::Segment,
            "init" => Self::Init,
            "master" => Self::Master,
            _ => panic!("unknown role {word}"),
        }
    }

    pub(crate) fn explained(self) -> &'static str {
        match self {
            Self::Output => "a file name such as video.mp4",
            Self::Segment => "a file name with a number, such as segment_%03d.ts",
            Self::Init => "a file name such as init.mp4",
            Self::Master => "a file name such as master.m3u8",
        }
    }

    fn takes(self, extension: &str) -> bool {
        match self {
            Self::Output => TABLES.muxer_of_extension(extension).is_some(),
            Self::Segment => SEGMENTS.contains(&extension),
            Self::Init => matches!(extension, "mp4" | "m4s"),
            Self::Master => extension == "m3u8",
        }
    }
}

impl Name {
    pub(crate) fn read(text: &str, role: Role) -> Result<Self, Problem> {
        let wrong = |problem: &str| {
            Problem::new(
                format!("the name '{}' {problem}", shown(text)),
                format!("give {}", role.explained()),
            )
        };
        if let Some(problem) = not_ascii(text) {
            return Err(problem);
        }
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let name = Self(text.to_owned());
        let plain = name.replaced("0", "0");
        if text.contains(['/', '\\']) {
            return Err(wrong("has a folder; files go into one folder of the worker's"));
        }
        if text.contains(':') {
            return Err(wrong("has a protocol or a drive"));
        }
        if text.is_empty() || text.len() > MAX_LENGTH {
            return Err(wrong(&format!("does not have 1 to {MAX_LENGTH} characters")));
        }
        if !plain.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            return Err(wrong("does not begin with a letter or a digit"));
        }
        if !plain.bytes().all(fine) || plain.contains("..") {
            return Err(wrong("has something besides letters, digits, '_', '-' and single '.'"));
        }
        let extension = name.extension();
        if extension.is_empty() || !role.takes(extension) {
            return Err(wrong("has an extension that is not known here"));
        }
        let numbered = name.pattern().is_some();
        if numbered && matches!(role, Role::Init | Role::Master) {
            return Err(wrong("has a number"));
        }
        if !numbered && role == Role::Segment {
            return Err(wrong("has no number such as %03d"));
        }
        Ok(name)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the name of that file, or its pattern. `%v` is a number or a name of a variant.
    #[must_use]
    pub fn is_of(&self, file: &str) -> bool {
        Self::matches(&self.0, self.pattern(), file)
    }

    fn matches(own: &str, pattern: Option<&str>, file: &str) -> bool {
        if let Some((before, after)) = own.split_once("%v") {
            let Some(rest) = file.strip_prefix(before) else { return false };
            let ends = rest.char_indices().map(|(at, _)| at).skip(1).chain([rest.len()]);
            return ends.into_iter().any(|at| Self::matches(after, pattern, &rest[at..]));
        }
        match pattern.and_then(|pattern| own.split_once(pattern)) {
            Some((before, after)) => file
                .strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(after))
                .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())),
            None => own == file,
        }
    }

    pub(crate) fn extension(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    pub(crate) fn stem(&self) -> &str {
        self.0.rsplit_once('.').map_or(self.as_str(), |(stem, _)| stem)
    }

    /// `%d` or `%03d`, when the name has exactly one.
    pub(crate) fn pattern(&self) -> Option<&str> {
        let at = self.0.match_indices('%').map(|(at, _)| at).find(|at| !self.0[at + 1..].starts_with('v'))?;
        let digits = self.0[at + 1..].find('d')?;
        Some(&self.0[at..=at + 1 + digits])
    }

    /// Whether it has `%v`, which HLS replaces by a variant.
    pub(crate) fn is_per_variant(&self) -> bool {
        self.0.contains("%v")
    }

    /// The name in one variant.
    pub(crate) fn of_variant(&self, variant: &str) -> Self {
        Self(self.0.replacen("%v", variant, 1))
    }

    /// The name with its number and its variant filled in. A `%` that is neither stays.
    fn replaced(&self, number: &str, variant: &str) -> String {
        let mut name = self.0.replacen("%v", variant, 1);
        for width in ["", "01", "02", "03", "04", "05", "06", "07", "08", "09"] {
            let pattern = format!("%{width}d");
            if name.contains(&pattern) {
                name = name.replacen(&pattern, number, 1);
                break;
            }
        }
        name
    }

    /// Whether a file may have both names. Letters' case does not count, as for some stores it does not.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let (one, two) = (self.tokens(), other.tokens());
        // Pairs of places in the two names that some beginning of a file's name leads to.
        let mut seen = vec![false; (one.len() + 1) * (two.len() + 1)];
        let mut next = vec![(0, 0)];
        while let Some((at, other_at)) = next.pop() {
            if std::mem::replace(&mut seen[at * (two.len() + 1) + other_at], true) {
                continue;
            }
            match (one.get(at), two.get(other_at)) {
                (None, None) => return true,
                (Some(token), Some(other)) if token.shares(*other) => {
                    next.push((at + 1, other_at + 1));
                    next.extend((*token == Token::Number).then_some((at, other_at + 1)));
                    next.extend((*other == Token::Number).then_some((at + 1, other_at)));
                }
                _ => {}
            }
        }
        false
    }

    fn tokens(&self) -> Vec<Token> {
        let (before, after) = match self.pattern().and_then(|pattern| self.0.split_once(pattern)) {
            Some((before, after)) => (before, Some(after)),
            None => (self.as_str(), None),
        };
        let letters =
            |text: &str| text.bytes().map(|byte| Token::Byte(byte.to_ascii_lowercase())).collect::<Vec<_>>();
        let mut tokens = letters(before);
        if let Some(after) = after {
            tokens.push(Token::Number);
            tokens.extend(letters(after));
        }
        tokens
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// One digit or more.
    Number,
}

impl Token {
    /// Whether some byte is of both.
    fn shares(self, other: Self) -> bool {
        match (self, other) {
            (Self::Byte(one), Self::Byte(two)) => one == two,
            (Self::Byte(byte), Self::Number) | (Self::Number, Self::Byte(byte)) => byte.is_ascii_digit(),
            (Self::Number, Self::Number) => true,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_plain_file_name() {
        for name in ["video.mp4", "a-b_c.2.webm", "thumb_%03d.jpg", "stream_%v.m3u8", "1.mp3"] {
            assert!(Name::read(name, Role::Output).is_ok(), "{name}");
        }
        for name in [
            "",
            "video",
            ".mp4",
            "-y.mp4",
            "../a.mp4",
            "a/b.mp4",
            "/a.mp4",
            "a\\b.mp4",
            "file:a.mp4",
            "pipe:1",
            "a..mp4",
            "a b.mp4",
            "a%20.mp4",
            "a%s.mp4",
            "a%d%d.jpg",
            "a%99d.jpg",
            "a%x.mp4",
            "a.exe",
            "a.sh",
            "http://x/a.mp4",
            "ａ.mp4",
            "a.mp4\n",
            "a\0.mp4",
            "a'.mp4",
            "a$b.mp4",
            "_.mp4/",
            "%-d.jpg",
            "a%v%v.m3u8",
            "tee|a.mp4",
        ] {
            assert!(Name::read(name, Role::Output).is_err(), "{name:?}");
        }
        assert!(Name::read(&format!("{}.mp4", "a".repeat(200)), Role::Output).is_err());
    }

    #[test]
    fn segments_have_a_number() {
        assert!(Name::read("seg_%03d.ts", Role::Segment).is_ok());
        assert!(Name::read("s_%v_%05d.m4s", Role::Segment).is_ok());
        for name in ["seg.ts", "a/seg_%d.ts", "seg_%03d.mp3"] {
            assert!(Name::read(name, Role::Segment).is_err(), "{name}");
        }
    }

    #[test]
    fn files_are_known_by_their_pattern() {
        let is_of = |name: &str, file: &str| Name(name.to_owned()).is_of(file);
        for (name, file) in [
            ("a.mp4", "a.mp4"),
            ("seg_%03d.ts", "seg_017.ts"),
            ("seg_%d.ts", "seg_0.ts"),
            ("s_%v_%05d.m4s", "s_720p_00001.m4s"),
            ("%v.m3u8", "low_2.m3u8"),
        ] {
            assert!(is_of(name, file), "{name} {file}");
        }
        for (name, file) in [
            ("a.mp4", "b.mp4"),
            ("seg_%03d.ts", "seg_.ts"),
            ("seg_%03d.ts", "seg_1.ts.tmp"),
            ("seg_%03d.ts", "seg_x.ts"),
            ("s_%v_%05d.m4s", "s_00001.m4s"),
            ("%v.m3u8", ".m3u8"),
        ] {
            assert!(!is_of(name, file), "{name} {file}");
        }
    }

    #[test]
    fn a_name_meets_what_its_pattern_may_come_to() {
        let meet = |one: &str, two: &str| {
            let (one, two) = (Name(one.to_owned()), Name(two.to_owned()));
            assert_eq!(one.meets(&two), two.meets(&one));
            one.meets(&two)
        };
        for (one, two) in [
            ("a.mp4", "A.mp4"),
            ("seg_%03d.ts", "SEG_17.ts"),
            ("a%d.ts", "a1%d.ts"),
            ("%d1.ts", "2%d.ts"),
            ("a%03d0.ts", "a%d.ts"),
        ] {
            assert!(meet(one, two), "{one} {two}");
        }
        for (one, two) in [
            ("a.mp4", "b.mp4"),
            ("seg_%03d.ts", "seg.ts"),
            ("s_0_%03d.ts", "s_1_%03d.ts"),
            ("a%d.ts", "a%d.mp4"),
            ("a1.jpg", "a2.jpg"),
        ] {
            assert!(!meet(one, two), "{one} {two}");
        }
    }
}
