//! What ffmpeg and ffprobe say on stderr.

/// ffmpeg's lines, with `-loglevel level+...`. What it says at level info is for people: it quotes the input's own
/// titles and names, and no verdict is made from it.
pub(in crate::run) struct Words<'a>(pub(super) &'a [String]);

impl Words<'_> {
    fn verdicts(&self) -> impl DoubleEndedIterator<Item = &String> {
        self.0.iter().filter(|line| !line.contains("[info]"))
    }

    /// The first line with these words; `.*` stands for anything between two of them.
    pub(in crate::run) fn find(&self, pattern: &str) -> Option<String> {
        let matches = |line: &str| {
            pattern
                .split(".*")
                .try_fold(line, |rest, word| rest.split_once(word).map(|(_, rest)| rest))
                .is_some()
        };
        self.verdicts().find(|line| matches(line)).map(|line| bare(line))
    }

    pub(in crate::run) fn find_any(&self, patterns: &[&str]) -> Option<String> {
        patterns.iter().find_map(|pattern| self.find(pattern))
    }

    /// `Unknown encoder 'libfoo'` -> `libfoo`
    pub(super) fn quoted_after(&self, pattern: &str) -> Option<String> {
        self.verdicts().find_map(|line| {
            let (_, rest) = line.split_once(pattern)?;
            let (name, _) = rest.strip_prefix('\'')?.split_once('\'')?;
            Some(name.to_owned())
        })
    }

    /// The first error tells the cause; those after it are mostly its consequences.
    pub(super) fn first_error(&self) -> Option<String> {
        let error = |line: &&String| line.contains("[error]") || line.contains("[fatal]");
        self.verdicts().find(error).or_else(|| self.verdicts().next_back()).map(|line| bare(line))
    }
}

/// Without the `[h264 @ 0x55d2] [error]` in front.
pub(in crate::run) fn bare(line: &str) -> String {
    let mut rest = line.trim();
    while let Some((prefix, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once("] ")) {
        if !(prefix.contains(" @ 0x") || matches!(prefix, "error" | "fatal" | "warning" | "panic" | "info")) {
            break;
        }
        rest = after.trim_start();
    }
    rest.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_without_addresses() {
        assert_eq!(bare("[in#0 @ 0x55d4] [error] moov atom not found"), "moov atom not found");
        assert_eq!(bare("[Parsed_scale_0 @ 0x5] [error] Option 'foo' not found"), "Option 'foo' not found");
        assert_eq!(bare("plain [x] text"), "plain [x] text");
    }
}
