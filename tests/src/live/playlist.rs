//! Media playlists as a strict player reads them, and the rules between two versions of one. Written apart from what
//! writes them.

/// A media playlist.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Playlist {
    pub sequence: u64,
    pub discontinuity_sequence: u64,
    /// Seconds.
    pub target: f64,
    pub part_target: Option<f64>,
    pub blocks: bool,
    pub segments: Vec<Segment>,
    /// Of the segment that is not finished.
    pub parts: Vec<Part>,
    pub ended: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Segment {
    pub sequence: u64,
    pub uri: String,
    /// Seconds.
    pub duration: f64,
    pub discontinuity: bool,
    /// Milliseconds since the Unix epoch.
    pub date: Option<i64>,
    pub init: Option<String>,
    pub parts: Vec<Part>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Part {
    pub uri: String,
    pub duration: f64,
    pub independent: bool,
}

/// What is in an attribute list, without its quotes.
fn attribute(list: &str, name: &str) -> Option<String> {
    let mut rest = list;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, next) = quoted.split_once('"')?;
                (value, next.strip_prefix(',').unwrap_or(""))
            }
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim() == name {
            return Some(value.to_owned());
        }
        rest = next;
    }
}

impl Playlist {
    /// # Errors
    /// A player would refuse it: why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        if lines.next() != Some("#EXTM3U") {
            return Err(format!("no playlist: {:?}", text.chars().take(80).collect::<String>()));
        }
        let mut playlist = Self::default();
        let mut next = Segment::default();
        let mut init = None;
        let mut extinf = false;
        for line in lines {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            let number = || value.parse::<f64>().map_err(|error| format!("{line}: {error}"));
            match tag {
                "#EXT-X-MEDIA-SEQUENCE" => playlist.sequence = number()? as u64,
                "#EXT-X-DISCONTINUITY-SEQUENCE" => playlist.discontinuity_sequence = number()? as u64,
                "#EXT-X-TARGETDURATION" => playlist.target = number()?,
                "#EXT-X-PART-INF" => {
                    playlist.part_target =
                        attribute(value, "PART-TARGET").and_then(|target| target.parse().ok());
                }
                "#EXT-X-SERVER-CONTROL" => {
                    playlist.blocks = attribute(value, "CAN-BLOCK-RELOAD").as_deref() == Some("YES");
                }
                "#EXT-X-MAP" => init = attribute(value, "URI"),
                "#EXT-X-DISCONTINUITY" => next.discontinuity = true,
                "#EXT-X-PROGRAM-DATE-TIME" => {
                    let date: jiff::Timestamp = value.parse().map_err(|error| format!("{line}: {error}"))?;
                    next.date = Some(date.as_millisecond());
                }
                "#EXT-X-PART" => next.parts.push(Part {
                    uri: attribute(value, "URI").ok_or_else(|| format!("{line}: no URI"))?,
                    duration: attribute(value, "DURATION").and_then(|text| text.parse().ok()).unwrap_or(-1.0),
                    independent: attribute(value, "INDEPENDENT").as_deref() == Some("YES"),
                }),
                "#EXTINF" => {
                    let seconds = value.split(',').next().unwrap_or_default();
                    next.duration = seconds.parse().map_err(|error| format!("{line}: {error}"))?;
                    extinf = true;
                }
                "#EXT-X-ENDLIST" => playlist.ended = true,
                _ if line.starts_with('#') || line.is_empty() => {}
                _ => {
                    if !extinf {
                        return Err(format!("{line} has no EXTINF"));
                    }
                    next.uri = line.to_owned();
                    next.sequence = playlist.sequence + playlist.segments.len() as u64;
                    next.init.clone_from(&init);
                    playlist.segments.push(std::mem::take(&mut next));
                    extinf = false;
                }
            }
        }
        playlist.parts = next.parts;
        Ok(playlist)
    }

    /// What follows the last segment.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.sequence + self.segments.len() as u64
    }

    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.segments.iter().map(|segment| segment.duration).sum()
    }

    /// What is wrong with it by itself.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.target <= 0.0 {
            faults.push("it has no target duration".to_owned());
        }
        for segment in &self.segments {
            let Segment { sequence, duration, .. } = segment;
            if duration.round() > self.target || *duration <= 0.0 {
                faults.push(format!(
                    "segment {sequence} lasts {duration} s at a target duration of {} s",
                    self.target
                ));
            }
            let parts: f64 = segment.parts.iter().map(|part| part.duration).sum();
            if !segment.parts.is_empty() && (parts - duration).abs() > 0.05 {
                faults.push(format!("segment {sequence} lasts {duration} s and its parts {parts} s"));
            }
        }
        for pair in self.segments.windows(2) {
            if let (Some(before), Some(after)) = (pair[0].date, pair[1].date) {
                let apart = (after - before) as f64 / 1000.0 - pair[0].duration;
                if apart.abs() > 0.05 && !pair[1].discontinuity {
                    faults.push(format!("the date of segment {} is {apart:.3} s off", pair[1].sequence));
                }
            }
        }
        let parts = self.segments.iter().flat_map(|segment| &segment.parts).chain(&self.parts);
        for part in parts {
            if part.duration <= 0.0 || self.part_target.is_none_or(|target| part.duration > target + 0.001) {
                faults.push(format!("{part:?} at a part target of {:?}", self.part_target));
            }
        }
        faults
    }

    /// What is wrong with it after an earlier version of itself.
    #[must_use]
    pub fn faults_after(&self, before: &Self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.sequence < before.sequence || self.next_sequence() < before.next_sequence() {
            let span = |list: &Self| list.sequence..list.next_sequence();
            faults.push(format!("segments {:?} became {:?}", span(before), span(self)));
        }
        if (self.target, self.part_target) != (before.target, before.part_target) {
            faults.push(format!("the target duration was {} and is {}", before.target, self.target));
        }
        let removed = before.segments.iter().filter(|segment| segment.sequence < self.sequence);
        let discontinuities =
            before.discontinuity_sequence + removed.filter(|segment| segment.discontinuity).count() as u64;
        if self.sequence <= before.next_sequence() && self.discontinuity_sequence != discontinuities {
            let is = self.discontinuity_sequence;
            faults.push(format!("the discontinuity sequence is {is} and should be {discontinuities}"));
        }
        if self.sequence > before.sequence && !self.ended && self.seconds() < 3.0 * self.target - 0.001 {
            faults.push(format!("only {:.3} s are left after segments were removed", self.seconds()));
        }
        for segment in &self.segments {
            let same = before.segments.iter().find(|other| other.sequence == segment.sequence);
            let body = |segment: &Segment| Segment { parts: Vec::new(), ..segment.clone() };
            if same.is_some_and(|same| body(same) != body(segment)) {
                faults.push(format!("segment {same:?} became {segment:?}"));
            }
        }
        if before.ended && self.segments != before.segments {
            faults.push("it went on after its end".to_owned());
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-MAP:URI=\"init,0.mp4\"\n\
        #EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00.000Z\n#EXTINF:2.000,\n7.m4s\n#EXT-X-DISCONTINUITY\n#EXTINF:2.000,\n8.m4s\n\
        #EXTINF:2.000,\n9.m4s\n#EXTINF:2.000,\n10.m4s\n";

    #[test]
    fn a_playlist_that_moves_on_properly_has_no_faults() {
        let before = Playlist::parse(BEFORE).unwrap();
        assert_eq!(before.segments[1].init.as_deref(), Some("init,0.mp4"));
        assert_eq!(before.segments[0].date, Some(1_767_225_600_000));
        assert_eq!(before.faults(), Vec::<String>::new());
        let mut after = before.clone();
        let next =
            Segment { sequence: 11, uri: "11.m4s".to_owned(), duration: 1.9, ..after.segments[3].clone() };
        after.segments.remove(0);
        after.segments.push(next);
        after.sequence += 1;
        assert_eq!(after.faults_after(&before), Vec::<String>::new());
        after.segments.remove(0);
        after.sequence += 1;
        assert_eq!(after.faults_after(&before).len(), 2, "{:?}", after.faults_after(&before));
        after.target = 3.0;
        assert_eq!(after.faults_after(&before).len(), 3);
        assert_eq!(before.faults_after(&after).len(), 2);
    }

    #[test]
    fn attributes_are_found_behind_quoted_commas() {
        let list = "URI=\"a,b=c\",DURATION=0.5,INDEPENDENT=YES";
        assert_eq!(attribute(list, "DURATION").as_deref(), Some("0.5"));
        assert_eq!(attribute(list, "URI").as_deref(), Some("a,b=c"));
        assert_eq!(attribute(list, "INDEPENDENT").as_deref(), Some("YES"));
        assert_eq!(attribute(list, "GAP"), None);
    }
}
