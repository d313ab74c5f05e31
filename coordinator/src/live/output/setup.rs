//! What the tracks are, and since when.

use mux::{
    Codec, Kind, Program, TrackId, Unit,
    codec::{self, Parameters},
};

/// What decoders were told about the tracks of the open segment, and what the frames say since.
#[derive(Debug, Default)]
pub(super) struct Setup {
    codecs: Vec<Codec>,
    told: Vec<Option<Parameters>>,
    seen: Vec<Option<Parameters>>,
    /// Nothing is added to `told` any more.
    sealed: bool,
}

impl Setup {
    pub(super) fn new(program: &Program) -> Self {
        let codecs: Vec<Codec> = program.tracks.iter().map(|track| track.codec).collect();
        Self { told: vec![None; codecs.len()], seen: vec![None; codecs.len()], codecs, sealed: false }
    }

    /// A frame that may say what its track is. `true`: now it is known of every track.
    pub(super) fn look(&mut self, unit: &Unit) -> bool {
        let index = usize::from(unit.track.0);
        let Some(codec) = self.codecs.get(index).copied() else { return false };
        if !unit.key || codec.kind() == Kind::Other {
            return false;
        }
        let Some(parameters) = codec::parameters(codec, unit) else { return false };
        if !self.sealed && self.told[index].is_none() {
            self.told[index] = Some(parameters.clone());
        }
        self.seen[index] = Some(parameters);
        !self.sealed && self.is_complete()
    }

    fn is_complete(&self) -> bool {
        self.codecs.iter().zip(&self.told).all(|(codec, told)| codec.kind() == Kind::Other || told.is_some())
    }

    /// The frames are not what decoders were told.
    pub(super) fn has_changed(&self) -> bool {
        self.told.iter().zip(&self.seen).any(|(told, seen)| match (told, seen) {
            (Some(told), Some(seen)) => differ(told, seen),
            // It came too late to be told.
            (None, Some(_)) => self.sealed,
            (_, None) => false,
        })
    }

    /// From here on decoders are told what was seen.
    pub(super) fn renew(&mut self) {
        self.told.clone_from(&self.seen);
        self.sealed = false;
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.sealed
    }

    pub(super) fn may_seal(&self) -> bool {
        !self.sealed && self.is_complete()
    }

    pub(super) fn seal(&mut self) {
        self.sealed = true;
    }

    /// The tracks that are known.
    pub(super) fn tracks(&self) -> impl Iterator<Item = (TrackId, &Parameters)> {
        (0u8..).map(TrackId).zip(&self.told).filter_map(|(track, told)| Some((track, told.as_ref()?)))
    }
}

/// Whether a decoder has to be told anew. What AC-3 says about itself in its record (bit rate, kind of programme) may change
/// with every frame and matters to none.
fn differ(told: &Parameters, seen: &Parameters) -> bool {
    match (told, seen) {
        (Parameters::Audio(told), Parameters::Audio(seen)) => {
            (told.codec, told.sample_rate, told.channels, &told.rfc6381)
                != (seen.codec, seen.sample_rate, seen.channels, &seen.rfc6381)
        }
        _ => told != seen,
    }
}
