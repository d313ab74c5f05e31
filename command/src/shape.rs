//! Values with a small grammar of their own. Each is put together again from its parts.

use crate::number;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    Color,
    /// A family of fonts, by which fontconfig finds a file.
    Family,
    /// Milliseconds, seconds or samples.
    Delay,
    Decibel,
    /// One item of `channelmap`.
    Mapping,
    /// One item of `join`.
    Joining,
    /// Two numbers in a range.
    Pair {
        separator: char,
        least: f64,
        most: f64,
    },
    Pan,
    /// One item of `xstack`.
    Cell,
    Digits,
    FourCc,
    TimeCode,
    Mastering,
    /// HLS variants of several streams.
    Variants,
    /// DASH adaptation sets.
    Adaptation,
}

impl Shape {
    /// # Panics
    /// There is none of that name: the tables are part of the program.
    pub(crate) fn of_table(name: &str, words: &[&str]) -> Self {
        match name {
            "color" => Self::Color,
            "family" => Self::Family,
            "delay" => Self::Delay,
            "decibel" => Self::Decibel,
            "mapping" => Self::Mapping,
            "joining" => Self::Joining,
            "pair" => {
                let number = |at: usize| words[at].parse().expect("a number");
                let separator = words[0].chars().next().expect("a separator");
                Self::Pair { separator, least: number(1), most: number(2) }
            }
            "pan" => Self::Pan,
            "cell" => Self::Cell,
            "digits" => Self::Digits,
            "fourcc" => Self::FourCc,
            "timecode" => Self::TimeCode,
            "mastering" => Self::Mastering,
            "variants" => Self::Variants,
            "adaptation" => Self::Adaptation,
            _ => panic!("unknown type {name}"),
        }
    }

    pub(crate) fn explained(self) -> &'static str {
        match self {
            Self::Color => "a colour such as white, black@0.5, #ff8800 or 0xff8800",
            Self::Family => "a family of fonts such as DejaVu Sans",
            Self::Delay => "milliseconds such as 500, seconds such as 1.5s, or samples such as 44100S",
            Self::Decibel => "decibels such as -3dB",
            Self::Mapping => "channels such as FL, 0, FL-FR or 0-FL",
            Self::Joining => "channels such as 0.0-FL or 1.FR-FR",
            Self::Pair { separator: ' ', .. } => "two numbers",
            Self::Pair { .. } => "two numbers such as 0.5/0.6",
            Self::Pan => "a layout and its channels, such as stereo|c0=FL+0.5*FC|c1=FR+0.5*FC",
            Self::Cell => "a place such as 0_0, w0_0 or w0+w1_h0",
            Self::Digits => "digits such as 23",
            Self::FourCc => "four letters or digits such as hvc1",
            Self::TimeCode => "a time code such as 01:00:00:00",
            Self::Mastering => {
                "a display such as G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
            }
            Self::Variants => "variants such as v:0,a:0 v:1,a:1",
            Self::Adaptation => "sets such as id=0,streams=v id=1,streams=a",
        }
    }

    /// The value as ffmpeg gets it.
    pub(crate) fn read(self, text: &str) -> Option<String> {
        match self {
            Self::Color => color(text),
            Self::Family => family(text),
            Self::Delay => delay(text),
            Self::Decibel => Some(format!("{}dB", number::decimal(text.strip_suffix("dB")?)?)),
            Self::Mapping => mapping(text),
            Self::Joining => joining(text),
            Self::Pair { separator, least, most } => pair(text, separator, least, most),
            Self::Pan => pan(text),
            Self::Cell => cell(text),
            Self::Digits => all(text, 16, |byte| byte.is_ascii_digit()),
            Self::FourCc => all(text, 4, |byte| byte.is_ascii_alphanumeric()).filter(|text| text.len() == 4),
            Self::TimeCode => time_code(text),
            Self::Mastering => mastering(text),
            Self::Variants => variants(text),
            Self::Adaptation => adaptation(text),
        }
    }
}

fn all(text: &str, longest: usize, fine: impl Fn(u8) -> bool) -> Option<String> {
    ((1..=longest).contains(&text.len()) && text.bytes().all(fine)).then(|| text.to_owned())
}

fn index(text: &str, most: i64) -> Option<i64> {
    number::integer(text).filter(|value| (0..=most).contains(value))
}

const COLORS: &str = "aliceblue antiquewhite aqua aquamarine azure beige bisque black blanchedalmond blue blueviolet brown \
burlywood cadetblue chartreuse chocolate coral cornflowerblue cornsilk crimson cyan darkblue darkcyan darkgoldenrod darkgray \
darkgreen darkkhaki darkmagenta darkolivegreen darkorange darkorchid darkred darksalmon darkseagreen darkslateblue \
darkslategray darkturquoise darkviolet deeppink deepskyblue dimgray dodgerblue firebrick floralwhite forestgreen fuchsia \
gainsboro ghostwhite gold goldenrod gray green greenyellow honeydew hotpink indianred indigo ivory khaki lavender \
lavenderblush lawngreen lemonchiffon lightblue lightcoral lightcyan lightgoldenrodyellow lightgreen lightgrey lightpink \
lightsalmon lightseagreen lightskyblue lightslategray lightsteelblue lightyellow lime limegreen linen magenta maroon \
mediumaquamarine mediumblue mediumorchid mediumpurple mediumseagreen mediumslateblue mediumspringgreen mediumturquoise \
mediumvioletred midnightblue mintcream mistyrose moccasin navajowhite navy oldlace olive olivedrab orange orangered orchid \
palegoldenrod palegreen paleturquoise palevioletred papayawhip peachpuff peru pink plum powderblue purple red rosybrown \
royalblue saddlebrown salmon sandybrown seagreen seashell sienna silver skyblue slateblue slategray snow springgreen \
steelblue tan teal thistle tomato turquoise violet wheat white whitesmoke yellow yellowgreen";

fn color(text: &str) -> Option<String> {
    let (color, alpha) = text.split_once('@').map_or((text, None), |(color, alpha)| (color, Some(alpha)));
    let hex = color.strip_prefix('#').or_else(|| color.strip_prefix("0x"));
    let name = color.to_ascii_lowercase();
    let color = match hex {
        Some(digits) if matches!(digits.len(), 6 | 8) => {
            format!("0x{}", all(digits, 8, |byte| byte.is_ascii_hexdigit())?.to_ascii_lowercase())
        }
        Some(_) => return None,
        None => COLORS.split(' ').find(|known| *known == name)?.to_owned(),
    };
    let Some(alpha) = alpha else { return Some(color) };
    let alpha = match alpha.strip_prefix("0x") {
        Some(digits) => {
            format!("0x{}", all(digits, 2, |byte| byte.is_ascii_hexdigit())?.to_ascii_lowercase())
        }
        None => number::decimal(alpha).filter(|alpha| (0.0..=1.0).contains(alpha))?.abs().to_string(),
    };
    Some(format!("{color}@{alpha}"))
}

fn family(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split(' ').collect();
    let fine = |word: &&str| all(word, 32, |byte| byte.is_ascii_alphanumeric()).is_some();
    (words.len() <= 6 && words.iter().all(fine)).then(|| words.join(" "))
}

fn delay(text: &str) -> Option<String> {
    if let Some(samples) = text.strip_suffix('S') {
        return Some(format!("{}S", index(samples, 100_000_000)?));
    }
    let (number, unit, most) =
        text.strip_suffix('s').map_or((text, "", 600_000.0), |seconds| (seconds, "s", 600.0));
    let value = number::decimal(number).filter(|value| (0.0..=most).contains(value))?.abs();
    Some(format!("{value}{unit}"))
}

const CHANNELS: [&str; 30] = [
    "FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR", "TC", "TFL", "TFC", "TFR", "TBL",
    "TBC", "TBR", "DL", "DR", "WL", "WR", "SDL", "SDR", "LFE2", "TSL", "TSR", "BFC", "BFL", "BFR",
];

fn channel(text: &str) -> Option<String> {
    CHANNELS.iter().find(|known| **known == text).map(|known| (*known).to_owned())
}

fn channel_or_index(text: &str) -> Option<String> {
    channel(text).or_else(|| Some(index(text, 63)?.to_string()))
}

fn mapping(text: &str) -> Option<String> {
    match text.split_once('-') {
        Some((from, to)) => Some(format!("{}-{}", channel_or_index(from)?, channel_or_index(to)?)),
        None => channel_or_index(text),
    }
}

fn joining(text: &str) -> Option<String> {
    let (input, rest) = text.split_once('.')?;
    let (from, to) = rest.split_once('-')?;
    Some(format!("{}.{}-{}", index(input, 63)?, channel_or_index(from)?, channel(to)?))
}

fn pair(text: &str, separator: char, least: f64, most: f64) -> Option<String> {
    let (first, second) = text.split_once(separator)?;
    let number = |text: &str| number::decimal(text).filter(|value| (least..=most).contains(value));
    Some(format!("{}{separator}{}", number(first)?, number(second)?))
}

fn pan(text: &str) -> Option<String> {
    let mut parts = text.split('|').map(str::trim);
    let layout = parts.next()?;
    let known = ["mono", "stereo", "2.1", "3.0", "3.1", "4.0", "quad", "5.0", "5.1", "6.1", "7.1", "downmix"]
        .contains(&layout);
    let counted =
        layout.strip_suffix('c').is_some_and(|count| index(count, 64).is_some_and(|count| count > 0));
    let channels = layout.split('+').all(|name| channel(name).is_some());
    if !(known || counted || channels) {
        return None;
    }
    let parts: Vec<String> = parts.map(pan_channel).collect::<Option<_>>()?;
    (!parts.is_empty() && parts.len() <= 64).then(|| format!("{layout}|{}", parts.join("|")))
}

/// `c0=0.5*FL-c1`, `FL<FL+0.5*FC`.
fn pan_channel(text: &str) -> Option<String> {
    let at = text.find(['=', '<'])?;
    let (output, sign) = (text[..at].trim(), &text[at..=at]);
    let sum: String = text[at + 1..].chars().filter(|character| *character != ' ').collect();
    let mut rest = sum.as_str();
    let mut result = format!("{}{sign}", pan_name(output)?);
    for place in 0.. {
        let term_sign = rest.chars().next().filter(|first| matches!(first, '+' | '-'));
        if place > 0 && term_sign.is_none() || place > 64 {
            return None;
        }
        result.extend(term_sign);
        rest = &rest[term_sign.map_or(0, char::len_utf8)..];
        let (term, after) = rest.split_at(rest.find(['+', '-']).unwrap_or(rest.len()));
        result.push_str(&match term.split_once('*') {
            Some((gain, name)) => format!("{}*{}", number::decimal(gain)?, pan_name(name)?),
            None => pan_name(term)?,
        });
        rest = after;
        if rest.is_empty() {
            return Some(result);
        }
    }
    None
}

fn pan_name(text: &str) -> Option<String> {
    channel(text).or_else(|| Some(format!("c{}", index(text.strip_prefix('c')?, 63)?)))
}

fn cell(text: &str) -> Option<String> {
    let (x, y) = text.split_once('_')?;
    Some(format!("{}_{}", cell_sum(x)?, cell_sum(y)?))
}

fn cell_sum(text: &str) -> Option<String> {
    let terms = text.split('+').map(|term| match term.strip_prefix(['w', 'h']) {
        Some(digits) => Some(format!("{}{}", &term[..1], index(digits, 63)?)),
        None => Some(index(term, i64::from(number::MAX_EDGE))?.to_string()),
    });
    Some(terms.collect::<Option<Vec<_>>>()?.join("+"))
}

fn time_code(text: &str) -> Option<String> {
    let fine = text.len() == 11
        && text.bytes().enumerate().all(|(at, byte)| match at {
            2 | 5 => byte == b':',
            8 => matches!(byte, b':' | b';' | b'.'),
            _ => byte.is_ascii_digit(),
        });
    fine.then(|| text.to_owned())
}

fn mastering(text: &str) -> Option<String> {
    let mut rest = text;
    for name in ["G", "B", "R", "WP", "L"] {
        let inside = rest.strip_prefix(name)?.strip_prefix('(')?;
        let (numbers, after) = inside.split_once(')')?;
        let (first, second) = numbers.split_once(',')?;
        index(first, 1_000_000_000)?;
        index(second, 1_000_000_000)?;
        rest = after;
    }
    rest.is_empty().then(|| text.to_owned())
}

fn word(text: &str) -> Option<String> {
    all(text, 32, |byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn groups(text: &str, item: impl Fn(&str) -> Option<String>) -> Option<String> {
    let groups = text.split(' ').filter(|group| !group.is_empty()).map(item).collect::<Option<Vec<_>>>()?;
    ((1..=16).contains(&groups.len())).then(|| groups.join(" "))
}

fn variants(text: &str) -> Option<String> {
    groups(text, |group| {
        let items = group.split(',').map(|item| {
            let (key, value) = item.split_once(':')?;
            let value = match key {
                "v" | "a" | "s" => index(value, 63)?.to_string(),
                "agroup" | "sgroup" | "name" | "language" => word(value)?,
                "default" if matches!(value, "yes" | "no") => value.to_owned(),
                _ => return None,
            };
            Some(format!("{key}:{value}"))
        });
        Some(items.collect::<Option<Vec<_>>>()?.join(","))
    })
}

fn adaptation(text: &str) -> Option<String> {
    groups(text, |group| {
        let (id, streams) = group.strip_prefix("id=")?.split_once(",streams=")?;
        let streams = streams.split(',').map(|stream| match stream {
            "v" | "a" => Some(stream.to_owned()),
            number => Some(index(number, 63)?.to_string()),
        });
        Some(format!("id={},streams={}", index(id, 63)?, streams.collect::<Option<Vec<_>>>()?.join(",")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_takes_what_is_common_and_nothing_else() {
        let pair = Shape::Pair { separator: '/', least: 0.0, most: 1.0 };
        let cases: [(Shape, &[&str], &[&str]); 14] = [
            (
                Shape::Color,
                &["white", "black@0.5", "0xff8800", "0xff880080@0x7f"],
                &["", "whit", "#fff", "black@2", "random", "a/b"],
            ),
            (Shape::Family, &["DejaVu Sans"], &["", "Sans:file=/etc/passwd", "../x", "Sans-12", " Sans"]),
            (Shape::Delay, &["500", "1.5s", "44100S"], &["", "s", "-1", "1e9", "9999999"]),
            (Shape::Decibel, &["-3dB"], &["3", "dB", "3db"]),
            (Shape::Mapping, &["FL", "0", "FL-FR", "0-FL"], &["XX", "-1", "FL-"]),
            (Shape::Joining, &["0.0-FL", "1.FR-FR"], &["0-FL", "0.0"]),
            (pair, &["0.5/0.58"], &["0.5", "2/2", "a/b"]),
            (
                Shape::Pan,
                &["stereo|c0=FL+0.5*FC|c1=FR", "mono|c0=0.5*c0-c1", "5.1|FL<c0"],
                &["stereo", "x|c0=c0", "stereo|c0=", "stereo|c0=c0c1", "stereo|c0=/etc"],
            ),
            (Shape::Cell, &["0_0", "w0_0", "w0+w1_h0"], &["0", "a_b", "w_h"]),
            (Shape::FourCc, &["hvc1"], &["hvc", "hvc12", "a/bc"]),
            (Shape::TimeCode, &["01:00:00:00", "01:00:00;00"], &["1:0:0:0", "01:00:00/00"]),
            (
                Shape::Mastering,
                &["G(1,2)B(3,4)R(5,6)WP(7,8)L(9,1)"],
                &["G(1,2)", "G(1,2)B(3,4)R(5,6)WP(7,8)L(9,1)x"],
            ),
            (Shape::Variants, &["v:0,a:0 v:1,a:1,name:low"], &["", "v:0,name:../x", "x:1", "v:a"]),
            (Shape::Adaptation, &["id=0,streams=v id=1,streams=0,2"], &["", "id=0", "id=0,streams=/x"]),
        ];
        for (shape, fine, wrong) in cases {
            for text in fine {
                assert_eq!(shape.read(text).as_deref(), Some(*text), "{shape:?}");
            }
            for text in wrong {
                assert_eq!(shape.read(text), None, "{shape:?} {text}");
            }
        }
    }
}
