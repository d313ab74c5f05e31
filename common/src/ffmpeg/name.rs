//! Names of files that go out, and what is in them.

/// Longest stem in bytes: room for an extension and a temporary suffix within the 255 of most file systems.
const MAX_STEM: usize = 120;

/// A file name's stem that is safe everywhere: the folder and the extension are cut off; letters, digits, `-`, `_`, `.`
/// and spaces stay, also outside ASCII; everything else becomes `_`. Never empty, never starting with a dot or a dash.
#[must_use]
pub fn safe_stem(name: &str) -> String {
    let path = name.split(['?', '#']).next().unwrap_or_default();
    let file = path.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = match file.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && extension.len() <= 5 => stem,
        _ => file,
    };
    let mut safe = String::with_capacity(stem.len());
    for character in stem.chars() {
        let fine = character.is_alphanumeric() || matches!(character, '-' | '_' | '.' | ' ');
        let character = if fine { character } else { '_' };
        if safe.len() + character.len_utf8() > MAX_STEM {
            break;
        }
        safe.push(character);
    }
    let safe = safe.trim_matches([' ', '.', '-']);
    if safe.is_empty() { "output".to_owned() } else { safe.to_owned() }
}

/// Media type by the file's extension, `application/octet-stream` for unknown ones.
#[must_use]
pub fn content_type(path: &str) -> &'static str {
    let extension = path.rsplit('/').next().and_then(|file| file.rsplit_once('.')).map_or("", |(_, ext)| ext);
    match extension.to_ascii_lowercase().as_str() {
        "m3u8" => "application/vnd.apple.mpegurl",
        "mpd" => "application/dash+xml",
        "mp4" | "m4s" | "m4v" => "video/mp4",
        "m4a" => "audio/mp4",
        "mov" => "video/quicktime",
        "mkv" => "video/x-matroska",
        "webm" => "video/webm",
        "ts" => "video/mp2t",
        "mp3" => "audio/mpeg",
        "ogg" | "opus" => "audio/ogg",
        "flac" => "audio/flac",
        "wav" => "audio/wav",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "vtt" => "text/vtt",
        "json" => "application/json",
        "txt" | "log" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_lose_folders_extensions_and_what_shells_and_templates_read() {
        assert_eq!(safe_stem("/a/b/holiday 2024.MP4"), "holiday 2024");
        assert_eq!(safe_stem("https://x.test/v/clip.mov?sig=a/b"), "clip");
        assert_eq!(safe_stem("..\\..\\evil%05d$(x).mkv"), "evil_05d__x_");
        assert_eq!(safe_stem("-rf"), "rf");
        assert_eq!(safe_stem("../.."), "output");
        assert_eq!(safe_stem("日本語.webm"), "日本語");
        assert!(safe_stem(&"ü".repeat(500)).len() <= MAX_STEM);
    }

    #[test]
    fn what_players_ask_for_has_its_type() {
        assert_eq!(content_type("1080p/index.m3u8"), "application/vnd.apple.mpegurl");
        assert_eq!(content_type("a/segment_00001.m4s"), "video/mp4");
        assert_eq!(content_type("v1.2/README"), "application/octet-stream");
    }
}
