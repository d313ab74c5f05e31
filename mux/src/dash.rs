//! DASH manifests (ISO/IEC 23009-1), live profile.

use std::fmt::{self, Write as _};

use crate::Ticks;

/// Milliseconds. VLC asks for a manifest every five seconds at most: nearer to the newest segment it runs dry.
const RENEWAL: i64 = 8000;

/// A manifest of a stream that is going on.
///
/// Times on the wall clock are milliseconds since the Unix epoch, which is also where the presentation begins
/// (`availabilityStartTime`): so a period's start is the time when it began, whatever else the manifest holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    pub publish_time: i64,
    /// Length of a segment.
    pub segment: Ticks,
    /// How far back there is media.
    pub depth: Ticks,
    /// What time it is, for clients whose clock is wrong.
    pub now: i64,
    /// Oldest first.
    pub periods: Vec<Period>,
    /// No segment follows.
    pub ended: bool,
}

/// A stretch in which nothing changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Period {
    /// Never changes, as its start does not: from a period's beginning segments may have gone.
    pub id: String,
    /// Where the period begins, on the wall clock and on the timeline of the media.
    pub start_wall: i64,
    pub start: Ticks,
    pub tracks: Vec<Track>,
}

/// A track, as an adaptation set with one representation.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// Unique in its period.
    pub id: String,
    pub media: Media,
    /// RFC 6381.
    pub codecs: String,
    /// Bits per second.
    pub bandwidth: u64,
    pub init: String,
    /// With `$Time$` in it.
    pub segments: String,
    /// Start and duration of each, oldest first.
    pub timeline: Vec<(Ticks, Ticks)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Media {
    Video { width: u32, height: u32, frame: Option<Ticks> },
    Audio { sample_rate: u32, channels: u8 },
}

impl Manifest {
    /// The manifest's text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(2048);
        // Writing to a string does not fail.
        _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        out.push_str("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n");
        out.push_str(
            "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\"",
        );
        write!(out, " type=\"dynamic\" availabilityStartTime=\"1970-01-01T00:00:00Z\"")?;
        write!(out, " publishTime=\"{}\"", Time(self.publish_time))?;
        write!(out, " timeShiftBufferDepth=\"{}\"", Span(self.depth.millis()))?;
        write!(out, " maxSegmentDuration=\"{}\"", Span(self.segment.millis()))?;
        write!(out, " minBufferTime=\"{}\"", Span(self.segment.millis()))?;
        if self.ended {
            // It does not change any more, and where it ends is known.
            let end = self.periods.last().map_or(0, Period::end);
            write!(out, " mediaPresentationDuration=\"{}\"", Span(end))?;
        } else {
            write!(out, " minimumUpdatePeriod=\"{}\"", Span(self.segment.millis()))?;
            let segment = self.segment.millis();
            let delay = (segment * 3).max(segment + RENEWAL);
            write!(out, " suggestedPresentationDelay=\"{}\"", Span(delay))?;
        }
        out.push_str(">\n");
        for period in &self.periods {
            period.write(out)?;
        }
        let now = Time(self.now);
        writeln!(out, " <UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:direct:2014\" value=\"{now}\"/>")?;
        out.push_str("</MPD>\n");
        Ok(())
    }
}

impl Period {
    /// Where its media ends on the wall clock.
    fn end(&self) -> i64 {
        let ends = self.tracks.iter().filter_map(|track| track.timeline.last());
        let end = ends.map(|(start, duration)| *start + *duration).max().unwrap_or(self.start);
        self.start_wall + (end - self.start).millis()
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, " <Period id=\"{}\" start=\"{}\">", Escaped(&self.id), Span(self.start_wall))?;
        for (index, track) in self.tracks.iter().enumerate() {
            track.write(out, index, self.start)?;
        }
        out.push_str(" </Period>\n");
        Ok(())
    }
}

impl Track {
    fn write(&self, out: &mut String, index: usize, offset: Ticks) -> fmt::Result {
        let kind = match self.media {
            Media::Video { .. } => "video",
            Media::Audio { .. } => "audio",
        };
        writeln!(
            out,
            "  <AdaptationSet id=\"{index}\" contentType=\"{kind}\" mimeType=\"{kind}/mp4\" segmentAlignment=\"true\" \
             startWithSAP=\"1\">"
        )?;
        write!(
            out,
            "   <Representation id=\"{}\" codecs=\"{}\" bandwidth=\"{}\"",
            Escaped(&self.id),
            Escaped(&self.codecs),
            self.bandwidth.max(1)
        )?;
        match self.media {
            Media::Video { width, height, frame } => {
                write!(out, " width=\"{width}\" height=\"{height}\"")?;
                if let Some(frame) = frame.filter(|frame| frame.0 > 0) {
                    write!(out, " frameRate=\"{}\"", Fraction(Ticks::PER_SECOND, frame.0))?;
                }
                out.push_str(">\n");
            }
            Media::Audio { sample_rate, channels } => {
                writeln!(out, " audioSamplingRate=\"{sample_rate}\">")?;
                writeln!(
                    out,
                    "    <AudioChannelConfiguration schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" \
                     value=\"{channels}\"/>"
                )?;
            }
        }
        writeln!(
            out,
            "    <SegmentTemplate timescale=\"{}\" presentationTimeOffset=\"{}\" initialization=\"{}\" media=\"{}\">",
            Ticks::PER_SECOND,
            offset.0,
            Escaped(&self.init),
            Escaped(&self.segments)
        )?;
        out.push_str("     <SegmentTimeline>\n");
        self.timeline(out)?;
        out.push_str(
            "     </SegmentTimeline>\n    </SegmentTemplate>\n   </Representation>\n  </AdaptationSet>\n",
        );
        Ok(())
    }

    /// Segments of the same length that follow each other are one line.
    fn timeline(&self, out: &mut String) -> fmt::Result {
        let mut segments = self.timeline.iter().peekable();
        let mut written = None;
        while let Some(&(start, duration)) = segments.next() {
            let (mut end, mut repeated) = (start + duration, 0);
            while segments.next_if(|next| **next == (end, duration)).is_some() {
                end += duration;
                repeated += 1;
            }
            out.push_str("      <S");
            if written != Some(start) {
                write!(out, " t=\"{}\"", start.0)?;
            }
            write!(out, " d=\"{}\"", duration.0)?;
            if repeated > 0 {
                write!(out, " r=\"{repeated}\"")?;
            }
            out.push_str("/>\n");
            written = Some(end);
        }
        Ok(())
    }
}

/// `xs:dateTime`.
struct Time(i64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        write!(f, "{time:.3}")
    }
}

/// `xs:duration`, from milliseconds.
struct Span(i64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.max(0);
        write!(f, "PT{}.{:03}S", millis / 1000, millis % 1000)
    }
}

/// In its lowest terms.
struct Fraction(i64, i64);

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut a, mut b) = (self.0, self.1);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        match self.1 / a {
            1 => write!(f, "{}", self.0 / a),
            below => write!(f, "{}/{below}", self.0 / a),
        }
    }
}

/// In an attribute's quotes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            // Not in XML 1.0 at all.
            c if (c as u32) < 0x20 => Ok(()),
            c => f.write_char(c),
        })
    }
}
