//! Expressions as ffmpeg's `av_expr_parse` reads them: numbers, variables of the filter, a list of functions, and
//! `+ - * / ^ ( ) , ;`.
//!
//! What may loop (`while`, `root`, `taylor`) or write (`print`) is left out, numbers have no suffixes and no exponents, and
//! the tokens are put together again without spaces, so the text that ffmpeg gets is made of known words only.

use std::collections::BTreeMap;

use crate::{
    error::{Problem, instead},
    number,
    table::{TABLES, Variable},
};

/// Characters of the longest expression.
const MAX_LENGTH: usize = 1000;
/// Nesting; ffmpeg itself stops at 100.
const MAX_DEPTH: usize = 32;

const CONSTANTS: [(&str, f64); 3] =
    [("PI", std::f64::consts::PI), ("E", std::f64::consts::E), ("PHI", 1.618_033_988_749_895)];

/// Name, fewest and most arguments.
const FUNCTIONS: [(&str, usize, usize); 45] = [
    ("abs", 1, 1),
    ("acos", 1, 1),
    ("asin", 1, 1),
    ("atan", 1, 1),
    ("atan2", 2, 2),
    ("between", 3, 3),
    ("bitand", 2, 2),
    ("bitor", 2, 2),
    ("ceil", 1, 1),
    ("clip", 3, 3),
    ("cos", 1, 1),
    ("cosh", 1, 1),
    ("eq", 2, 2),
    ("exp", 1, 1),
    ("floor", 1, 1),
    ("gauss", 1, 1),
    ("gcd", 2, 2),
    ("gt", 2, 2),
    ("gte", 2, 2),
    ("hypot", 2, 2),
    ("if", 2, 3),
    ("ifnot", 2, 3),
    ("isinf", 1, 1),
    ("isnan", 1, 1),
    ("ld", 1, 1),
    ("lerp", 3, 3),
    ("log", 1, 1),
    ("lt", 2, 2),
    ("lte", 2, 2),
    ("max", 2, 2),
    ("min", 2, 2),
    ("mod", 2, 2),
    ("not", 1, 1),
    ("pow", 2, 2),
    ("random", 1, 1),
    ("round", 1, 1),
    ("sgn", 1, 1),
    ("sin", 1, 1),
    ("sinh", 1, 1),
    ("sqrt", 1, 1),
    ("squish", 1, 1),
    ("st", 2, 2),
    ("tan", 1, 1),
    ("tanh", 1, 1),
    ("trunc", 1, 1),
];

/// An expression that was read, and what it comes to for the values that stand for its variables; NaN when that is unknown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Read {
    pub(crate) text: String,
    pub(crate) value: f64,
}

/// Reads an expression with the variables of a set in `tables/variables.txt`.
pub(crate) fn read(text: &str, set: &str) -> Result<Read, Problem> {
    if text.len() > MAX_LENGTH {
        return Err(Problem::new(
            format!("the expression has {} characters", text.len()),
            format!("use at most {MAX_LENGTH}"),
        ));
    }
    let variables = &TABLES.variables[set];
    let mut reader = Reader { rest: text.as_bytes(), text: String::new(), depth: 0, variables };
    let value = reader.sequence()?;
    match reader.peek() {
        None => Ok(Read { text: reader.text, value }),
        Some(byte) => Err(unexpected(byte)),
    }
}

fn unexpected(byte: u8) -> Problem {
    Problem::new(
        format!("'{}' has no place there in an expression", char::from(byte).escape_default()),
        "use numbers, the filter's variables, functions and + - * / ^ ( ) , ;",
    )
}

struct Reader<'a> {
    rest: &'a [u8],
    text: String,
    depth: usize,
    variables: &'a BTreeMap<&'static str, Variable>,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<u8> {
        while let [b' ', rest @ ..] = self.rest {
            self.rest = rest;
        }
        self.rest.first().copied()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.rest = &self.rest[1..];
            self.text.push(char::from(wanted));
        }
        found
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Problem> {
        if self.take(wanted) {
            return Ok(());
        }
        match self.peek() {
            Some(byte) => Err(unexpected(byte)),
            None => Err(Problem::new(
                format!("the expression ends where '{}' is missing", char::from(wanted)),
                "close every parenthesis, and give functions all of their arguments",
            )),
        }
    }

    fn sequence(&mut self) -> Result<f64, Problem> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Problem::new(
                "the expression is nested too deep",
                format!("use at most {MAX_DEPTH} levels"),
            ));
        }
        let mut value = self.sum()?;
        while self.take(b';') {
            value = self.sum()?;
        }
        self.depth -= 1;
        Ok(value)
    }

    fn sum(&mut self) -> Result<f64, Problem> {
        let mut value = self.product()?;
        loop {
            if self.take(b'+') {
                value += self.product()?;
            } else if self.take(b'-') {
                value -= self.product()?;
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<f64, Problem> {
        let mut value = self.power()?;
        loop {
            if self.take(b'*') {
                value *= self.power()?;
            } else if self.take(b'/') {
                value /= self.power()?;
            } else {
                return Ok(value);
            }
        }
    }

    fn power(&mut self) -> Result<f64, Problem> {
        let negative = self.sign();
        let mut value = self.primary()?;
        while self.take(b'^') {
            let sign = if self.sign() { -1.0 } else { 1.0 };
            value = value.powf(sign * self.primary()?);
        }
        Ok(if negative { -value } else { value })
    }

    fn sign(&mut self) -> bool {
        let negative = self.take(b'-');
        if !negative {
            self.take(b'+');
        }
        negative
    }

    fn primary(&mut self) -> Result<f64, Problem> {
        match self.peek() {
            Some(b'(') => {
                self.take(b'(');
                let value = self.sequence()?;
                self.expect(b')')?;
                Ok(value)
            }
            Some(b'0'..=b'9' | b'.') => self.number(),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => self.name(),
            Some(byte) => Err(unexpected(byte)),
            None => Err(Problem::new("the expression ends too early", "complete it")),
        }
    }

    fn word(&mut self, fine: impl Fn(u8) -> bool) -> String {
        let length = self.rest.iter().position(|byte| !fine(*byte)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        word.iter().copied().map(char::from).collect()
    }

    fn number(&mut self) -> Result<f64, Problem> {
        let word = self.word(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'));
        let value = number::decimal(&word).ok_or_else(|| {
            Problem::new(
                format!("'{word}' is no number that fits"),
                "write at most 15 digits, with a point, without suffix or exponent",
            )
        })?;
        self.text.push_str(&word);
        Ok(value)
    }

    fn name(&mut self) -> Result<f64, Problem> {
        let word = self.word(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        self.text.push_str(&word);
        let called = self.peek() == Some(b'(');
        if let Some((_, value)) = CONSTANTS.iter().find(|(name, _)| *name == word && !called) {
            return Ok(*value);
        }
        match self.variables.get(word.as_str()) {
            Some(Variable::Value(value)) if !called => return Ok(*value),
            Some(Variable::Function(arguments)) if called => {
                self.arguments(&word, *arguments, *arguments)?;
                return Ok(f64::NAN);
            }
            _ => {}
        }
        match FUNCTIONS.iter().find(|(name, ..)| *name == word) {
            Some((_, fewest, most)) if called => {
                let arguments = self.arguments(&word, *fewest, *most)?;
                Ok(value_of(&word, &arguments))
            }
            _ => Err(self.unknown(&word)),
        }
    }

    fn unknown(&self, word: &str) -> Problem {
        let problem = match word {
            "while" | "root" | "taylor" => format!("the function {word} may run for ever"),
            "print" => "the function print writes to the log".to_owned(),
            _ => format!("'{word}' is no variable of this option and no function"),
        };
        let names = self.variables.keys().copied().chain(FUNCTIONS.iter().map(|(name, ..)| *name));
        Problem::new(problem, instead(word, names))
    }

    fn arguments(&mut self, name: &str, fewest: usize, most: usize) -> Result<Vec<f64>, Problem> {
        self.expect(b'(')?;
        let mut values = vec![self.sequence()?];
        while self.take(b',') {
            values.push(self.sequence()?);
        }
        self.expect(b')')?;
        if (fewest..=most).contains(&values.len()) {
            return Ok(values);
        }
        Err(Problem::new(
            format!("the function {name} has {} arguments", values.len()),
            if fewest == most { format!("give it {most}") } else { format!("give it {fewest} to {most}") },
        ))
    }
}

/// What a function comes to, where that is worth knowing for the size of a picture; NaN otherwise.
fn value_of(name: &str, arguments: &[f64]) -> f64 {
    if arguments.iter().any(|argument| argument.is_nan()) {
        return f64::NAN;
    }
    let truth = |fine: bool| if fine { 1.0 } else { 0.0 };
    match (name, arguments) {
        ("abs", [a]) => a.abs(),
        ("ceil", [a]) => a.ceil(),
        ("floor", [a]) => a.floor(),
        ("round", [a]) => a.round(),
        ("trunc", [a]) => a.trunc(),
        ("sqrt", [a]) => a.sqrt(),
        ("exp", [a]) => a.exp(),
        ("log", [a]) => a.ln(),
        ("pow", [a, b]) => a.powf(*b),
        ("hypot", [a, b]) => a.hypot(*b),
        ("max", [a, b]) => a.max(*b),
        ("min", [a, b]) => a.min(*b),
        ("mod", [a, b]) => a - (a / b).floor() * b,
        ("clip", [a, low, high]) => a.max(*low).min(*high),
        ("lerp", [a, b, at]) => a + (b - a) * at,
        ("not", [a]) => truth(*a == 0.0),
        ("eq", [a, b]) => truth(a == b),
        ("gt", [a, b]) => truth(a > b),
        ("gte", [a, b]) => truth(a >= b),
        ("lt", [a, b]) => truth(a < b),
        ("lte", [a, b]) => truth(a <= b),
        ("between", [a, low, high]) => truth(a >= low && a <= high),
        ("if", [a, then]) => {
            if *a == 0.0 {
                0.0
            } else {
                *then
            }
        }
        ("if", [a, then, otherwise]) => {
            if *a == 0.0 {
                *otherwise
            } else {
                *then
            }
        }
        ("ifnot", [a, then]) => {
            if *a == 0.0 {
                *then
            } else {
                0.0
            }
        }
        ("ifnot", [a, then, otherwise]) => {
            if *a == 0.0 {
                *then
            } else {
                *otherwise
            }
        }
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_common_is_read_and_spaces_are_left_out() {
        for (text, expected, value) in [
            ("iw/2", "iw/2", 320.0),
            ("trunc(iw/2) * 2", "trunc(iw/2)*2", 640.0),
            ("if( gt(a, 16/9), 1280, -2)", "if(gt(a,16/9),1280,-2)", 1280.0),
            ("-1", "-1", -1.0),
            ("2^-1", "2^-1", 0.5),
            ("min(1920,iw)", "min(1920,iw)", 640.0),
        ] {
            let read = read(text, "scale").unwrap();
            assert_eq!(read.text, expected);
            assert!((read.value - value).abs() < 1e-9, "{text}: {}", read.value);
        }
    }

    #[test]
    fn what_may_run_for_ever_or_write_is_refused() {
        for text in ["while(1,1)", "root(x,1)", "taylor(1,1)", "print(1)", "st(0,while(1,1))"] {
            assert!(read(text, "select").is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in [
            "",
            "1+",
            "(",
            ")",
            "f(",
            "iw iw",
            "1 2",
            "2iw",
            "1e5",
            "0x10",
            "1k",
            "iw(",
            "iw(1)",
            "floor",
            "floor(1,2)",
            "a=b",
            "a:b",
            "movie",
            "'1'",
            "1\\,2",
            "１",
            "−1",
            "1..2",
            "99999999999999999999",
        ] {
            assert!(read(text, "scale").is_err(), "{text}");
        }
        assert!(read(&"(".repeat(500), "scale").is_err());
        assert!(read(&"1+".repeat(5000), "scale").is_err());
    }
}
