//! A command that is not allowed, shown as compilers show mistakes: the text, and a mark under the place.

use std::io::IsTerminal as _;

use ::console::{Term, measure_text_width};
use common::api::{CommandPlace, Problem};

use crate::{error::Error, text::printable};

/// Columns where there is no terminal to ask.
const COLUMNS: usize = 100;
/// What stands in front of the command.
const MARGIN: &str = "  | ";
/// Where something is left out.
const CUT: char = '…';

/// What a farm refused, if the command is at fault.
pub(crate) fn of_problem(command: &str, problem: &Problem) -> Option<Error> {
    let place = problem.command.as_ref()?;
    let CommandPlace { option, argument, offset } = place;
    let detail = problem.detail.strip_prefix(&format!("{option} (argument {argument}, byte {offset}): "));
    let detail = detail.unwrap_or(&problem.detail);
    Some(refusal(command, place, detail, problem.remedy.as_deref().unwrap_or_default()))
}

/// What was refused here.
pub(crate) fn of_command(text: &str, error: command::Error) -> Error {
    let command::Error { name, argument, offset, problem, remedy } = error;
    refusal(text, &CommandPlace { option: name, argument, offset }, &problem, &remedy)
}

fn refusal(command: &str, place: &CommandPlace, problem: &str, remedy: &str) -> Error {
    let columns =
        if std::io::stderr().is_terminal() { usize::from(Term::stderr().size().1) } else { COLUMNS };
    let CommandPlace { option, argument, offset } = place;
    let (shown, mark) = marked(command, *offset, option, columns.saturating_sub(MARGIN.len()));
    let mut message = format!(
        "{}: {}\n --> argument {argument}, byte {offset} of --command\n  |\n{MARGIN}{shown}\n{MARGIN}{mark}",
        printable(option),
        printable(problem),
    );
    if !remedy.is_empty() {
        message.push_str("\n  = ");
        message.push_str(&printable(remedy));
    }
    Error::invalid(message)
}

/// The command's text, or as much of it around the byte `offset` as fits into `columns`, and the line below with a mark
/// under `name`, or under the word that is there.
fn marked(command: &str, offset: usize, name: &str, columns: usize) -> (String, String) {
    let mut at_most = (0..=offset.min(command.len())).rev();
    let offset = at_most.find(|byte| command.is_char_boundary(*byte)).unwrap_or_default();
    let (before, after) = command.split_at(offset);
    let length = marked_length(after, name);
    let visible = |text: &str| -> Vec<char> {
        text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
    };
    let (before, marked, after) = (visible(before), visible(&after[..length]), visible(&after[length..]));
    let width = |chars: &[char]| measure_text_width(&chars.iter().collect::<String>());
    // What is marked comes first, then what leads to it, then what follows.
    let room = columns.saturating_sub(2);
    let marked = &marked[..fitting(marked.iter(), room, &width)];
    let room = room - width(marked);
    let lead = fitting(before.iter().rev(), room - (room / 4).min(width(&after)), &width);
    let lead = &before[before.len() - lead..];
    let trail = &after[..fitting(after.iter(), room - width(lead), &width)];
    let cut = |is_cut: bool| is_cut.then_some(CUT);
    let in_front: Vec<char> =
        cut(lead.len() < before.len()).into_iter().chain(lead.iter().copied()).collect();
    let shown = in_front.iter().chain(marked).chain(trail).copied().chain(cut(trail.len() < after.len()));
    let mark = "^".repeat(width(marked).max(1));
    (shown.collect(), format!("{:1$}{mark}", "", width(&in_front)))
}

/// Bytes of `text` that are marked: those of the name, if it is there, or else those of its first word.
fn marked_length(text: &str, name: &str) -> usize {
    let name = name.rsplit(' ').next().unwrap_or_default();
    if !name.is_empty() && text.starts_with(name) {
        return name.len();
    }
    let ends = |c: char| c.is_whitespace() || "=:,;'\"[]".contains(c);
    let word = text.find(ends).unwrap_or(text.len());
    if word > 0 { word } else { text.chars().next().map_or(0, char::len_utf8) }
}

/// How many of the characters have room in so many columns.
fn fitting<'a>(
    chars: impl Iterator<Item = &'a char>,
    columns: usize,
    width: &impl Fn(&[char]) -> usize,
) -> usize {
    let mut used = 0;
    chars
        .take_while(|c| {
            used += width(std::slice::from_ref(*c));
            used <= columns
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(command: &str, offset: usize, name: &str, columns: usize) -> [String; 2] {
        let (shown, mark) = marked(command, offset, name, columns);
        [shown, mark]
    }

    #[test]
    fn the_mark_is_under_the_name() {
        let command = "-c:v libx264 -prest fast";
        assert_eq!(lines(command, 13, "-prest", 80), [command, "             ^^^^^^"]);
        // Of a value there is the value.
        assert_eq!(lines("-crf 99 -an", 5, "-crf", 80), ["-crf 99 -an", "     ^^"]);
        assert_eq!(
            lines("-vf drawtext=textfile=/x", 13, "drawtext textfile", 80),
            ["-vf drawtext=textfile=/x", "             ^^^^^^^^"]
        );
        // At the end, where something is missing.
        assert_eq!(lines("-an", 3, "the output", 80), ["-an", "   ^"]);
        assert_eq!(lines("", 0, "the output", 80), ["", "^"]);
    }

    #[test]
    fn wide_and_unseen_characters_do_not_move_the_mark() {
        assert_eq!(lines("映画 -x", 7, "-x", 80), ["映画 -x", "     ^^"]);
        assert_eq!(lines("a\u{1b}[2J -x", 6, "-x", 80), ["a\u{fffd}[2J -x", "      ^^"]);
        assert_eq!(lines("a\n-x", 1, "the command", 80), ["a\u{fffd}-x", " ^"]);
    }

    #[test]
    fn a_long_command_is_cut_around_the_place() {
        let command = format!("{}-prest {}", "-an ".repeat(100), "-vn ".repeat(100));
        let [shown, mark] = lines(&command, 400, "-prest", 40);
        assert!(shown.chars().count() <= 40 && shown.starts_with(CUT) && shown.ends_with(CUT), "{shown}");
        let column = mark.find('^').unwrap();
        let under: String = shown.chars().skip(column).take(6).collect();
        assert_eq!((under.as_str(), &mark[column..]), ("-prest", "^^^^^^"));
        let [shown, mark] = lines(&command, 400, "-prest", 0);
        assert!(shown.chars().count() <= 2 && mark.ends_with('^'), "{shown}");
    }

    #[test]
    fn what_the_farm_refuses_is_told_once() {
        let problem = Problem {
            kind: String::new(),
            title: String::new(),
            status: 422,
            detail: "-prest (argument 2, byte 13): this option is not allowed".to_owned(),
            field: Some("command".to_owned()),
            remedy: Some("did you mean preset?".to_owned()),
            command: Some(CommandPlace { option: "-prest".to_owned(), argument: 2, offset: 13 }),
        };
        let error = of_problem("-c:v libx264 -prest fast", &problem).unwrap();
        let lines: Vec<_> = error.message.lines().collect();
        assert_eq!(
            lines,
            [
                "-prest: this option is not allowed",
                " --> argument 2, byte 13 of --command",
                "  |",
                "  | -c:v libx264 -prest fast",
                "  |              ^^^^^^",
                "  = did you mean preset?",
            ]
        );
        assert_eq!(error.exit, crate::Exit::Invalid);
    }
}
