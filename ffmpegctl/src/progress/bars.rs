//! Progress bars on a terminal, one for each input that is being worked on and one for all.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::stage::Stage;
use crate::text;

/// Steps of a bar.
const STEPS: u64 = 1000;
/// How often spinners turn and elapsed times move.
const TICK: Duration = Duration::from_millis(120);
/// Columns that the words of an encode take with an ordinary host name.
const WORDS: usize = 54;

pub(super) struct Bars {
    all: MultiProgress,
    names: Vec<String>,
    bars: Mutex<Vec<Option<Bar>>>,
    /// How many inputs are done; only when there are several.
    total: Option<ProgressBar>,
    measured: ProgressStyle,
    unmeasured: ProgressStyle,
}

impl std::fmt::Debug for Bars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bars").field("names", &self.names).finish_non_exhaustive()
    }
}

struct Bar {
    bar: ProgressBar,
    measured: bool,
}

impl Bars {
    pub(super) fn new(names: &[String]) -> Self {
        let all = MultiProgress::new();
        let columns = usize::from(console::Term::stderr().size().1);
        let layout = Layout::new(columns, names.iter().map(|name| name.chars().count()).max().unwrap_or(0));
        let count = names.len();
        let names = names.iter().map(|name| format!("{:1$}", text::shorten(name, layout.name), layout.name));
        let names: Vec<String> = names.collect();
        let style = |template: &str| {
            ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("━╸─")
        };
        let total = (count > 1).then(|| {
            let bar = all.add(ProgressBar::new(count as u64));
            bar.set_style(style("{pos} of {len} done, {elapsed}"));
            bar.enable_steady_tick(TICK);
            bar
        });
        Self {
            bars: Mutex::new(names.iter().map(|_| None).collect()),
            names,
            total,
            measured: style(&format!(
                "{{prefix:.bold}} {{bar:{}.cyan/white.dim}} {{percent:>3}}% {{wide_msg}}",
                layout.bar
            )),
            unmeasured: style("{prefix:.bold} {spinner:.cyan} {wide_msg}"),
            all,
        }
    }

    pub(super) fn stage(&self, index: usize, stage: &Stage) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bars[index].get_or_insert_with(|| self.begin(index));
        let fraction = stage.fraction();
        if bar.measured != fraction.is_some() {
            bar.measured = fraction.is_some();
            bar.bar.set_style(if bar.measured { self.measured.clone() } else { self.unmeasured.clone() });
        }
        bar.bar.set_position((fraction.unwrap_or(0.0) * STEPS as f64) as u64);
        bar.bar.set_message(stage.words());
    }

    fn begin(&self, index: usize) -> Bar {
        let bar = ProgressBar::new(STEPS).with_style(self.unmeasured.clone());
        let bar = match &self.total {
            Some(total) => self.all.insert_before(total, bar),
            None => self.all.add(bar),
        };
        bar.set_prefix(self.names[index].clone());
        bar.enable_steady_tick(TICK);
        Bar { bar, measured: false }
    }

    /// The input is over: its bar goes, and `tell` may write.
    pub(super) fn finished(&self, index: usize, tell: impl FnOnce()) {
        let bar = self.bars.lock().unwrap_or_else(PoisonError::into_inner)[index].take();
        if let Some(bar) = bar {
            bar.bar.finish_and_clear();
            self.all.remove(&bar.bar);
        }
        if let Some(total) = &self.total {
            total.inc(1);
        }
        self.all.suspend(tell);
    }

    /// Lets `tell` write above the bars.
    pub(super) fn above(&self, tell: impl FnOnce()) {
        self.all.suspend(tell);
    }

    pub(super) fn clear(&self) {
        if let Some(total) = &self.total {
            total.finish_and_clear();
        }
        // The terminal is gone: nothing to be cleared.
        let _ = self.all.clear();
    }
}

/// Columns of the name and of the bar.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    name: usize,
    bar: usize,
}

impl Layout {
    fn new(columns: usize, longest_name: usize) -> Self {
        let name = longest_name.clamp(1, if columns < 100 { 16 } else { 32 });
        // The percentage and the blanks take seven.
        let bar = columns.saturating_sub(name + 7 + WORDS).clamp(8, 30);
        Self { name, bar }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_fit_beside_the_bar() {
        assert_eq!(Layout::new(80, 40), Layout { name: 16, bar: 8 });
        assert_eq!(Layout::new(120, 10), Layout { name: 10, bar: 30 });
        assert_eq!(Layout::new(20, 0), Layout { name: 1, bar: 8 });
    }
}
