//! Paired measurement: contenders take turns within each round, and what is reported is the median
//! of the rounds' ratios. A shared machine that slows down slows both, which a harness that measures
//! one contender after the other would report as a difference.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One line of the result.
pub struct Row {
    /// What was measured, against what.
    pub name: &'static str,
    /// Median of the rounds' ratios, ours to the other's; of times, so that less is better.
    pub ratio: f64,
    /// The 10th and 90th percentile of the ratios.
    pub spread: (f64, f64),
    /// Median time per operation: ours, the other's.
    pub times: (Duration, Duration),
    /// The ratio to stay at or below.
    pub goal: f64,
}

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Rounds that count, each of both contenders.
    pub rounds: usize,
    /// Operations per round and contender.
    pub operations: usize,
}

/// Measures `ours` against `other`, after one round that does not count.
pub async fn pair<A, B>(name: &'static str, goal: f64, effort: Effort, ours: A, other: B) -> Row
where
    A: AsyncFn(usize),
    B: AsyncFn(usize),
{
    let mut times = Vec::with_capacity(effort.rounds);
    for round in 0..=effort.rounds {
        // Whoever goes first finds caches and clock speed as the other left them: take turns.
        let (a, b) = if round % 2 == 0 {
            let a = time(&ours, effort.operations).await;
            (a, time(&other, effort.operations).await)
        } else {
            let b = time(&other, effort.operations).await;
            (time(&ours, effort.operations).await, b)
        };
        if round > 0 {
            times.push((a, b));
        }
    }
    let mut ratios: Vec<f64> =
        times.iter().map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect();
    ratios.sort_by(f64::total_cmp);
    let row = Row {
        name,
        ratio: quantile(&ratios, 0.5),
        spread: (quantile(&ratios, 0.1), quantile(&ratios, 0.9)),
        times: (
            median(times.iter().map(|t| t.0).collect()) / effort.operations as u32,
            median(times.iter().map(|t| t.1).collect()) / effort.operations as u32,
        ),
        goal,
    };
    eprintln!("{}", line(&row));
    row
}

async fn time<F: AsyncFn(usize)>(work: &F, operations: usize) -> Duration {
    let started = Instant::now();
    for i in 0..operations {
        work(i).await;
    }
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

fn line(row: &Row) -> String {
    format!(
        "| {} | {:.2} | {:.2}-{:.2} | {} | {} | {:.2} | {} |",
        row.name,
        row.ratio,
        row.spread.0,
        row.spread.1,
        shown(row.times.0),
        shown(row.times.1),
        row.goal,
        if row.ratio <= row.goal { "yes" } else { "no" },
    )
}

/// What the command line asks for.
pub struct Arguments {
    /// Only to show that it runs.
    pub smoke: bool,
    plot: Option<PathBuf>,
}

/// A file of the repository, or another one by its full path: cargo runs a benchmark in the folder of its package.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

impl Arguments {
    /// # Errors
    /// `--plot` without a file name.
    pub fn parse() -> Result<Self, &'static str> {
        let arguments: Vec<String> = std::env::args().collect();
        let plot = arguments.iter().position(|a| a == "--plot");
        let plot = plot.map(|at| arguments.get(at + 1).ok_or("--plot takes a file name"));
        Ok(Arguments {
            smoke: arguments.iter().any(|a| a == "--smoke"),
            plot: plot.transpose()?.map(|path| repository(path)),
        })
    }

    /// Prints the rows as a table, and draws them where that was asked for.
    pub fn finish(&self, title: &str, rows: &[Row]) -> std::io::Result<()> {
        println!("{}", table(rows));
        self.plot.as_ref().map_or(Ok(()), |path| std::fs::write(path, chart(title, rows)))
    }
}

/// A time with three digits.
pub fn shown(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        m if m < 1.0 => format!("{:.0} ns", m * 1e3),
        m if m < 1e3 => format!("{m:.1} us"),
        m if m < 1e6 => format!("{:.1} ms", m / 1e3),
        m => format!("{:.2} s", m / 1e6),
    }
}

/// The rows as a Markdown table.
fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| ours against other | ratio | p10-p90 | ours | other | goal | met |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line(row));
    }
    text
}

/// The rows as a bar chart: a bar is our time as a share of the other's, a tick its goal.
fn chart(title: &str, rows: &[Row]) -> String {
    const LEFT: f64 = 430.0;
    const WIDTH: f64 = 330.0;
    const ROW: f64 = 30.0;
    let most = rows.iter().map(|r| r.ratio.max(r.goal)).fold(1.2, f64::max).min(2.0);
    let x = |ratio: f64| LEFT + WIDTH * ratio.min(most) / most;
    let height = 60.0 + ROW * rows.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"840\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"20\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{title}</text>\n\
         <line x1=\"{one}\" x2=\"{one}\" y1=\"36\" y2=\"{bottom}\" stroke=\"#888\" stroke-dasharray=\"3 3\"/>\n",
        one = x(1.0),
        bottom = height - 14.0,
    );
    for (i, row) in rows.iter().enumerate() {
        let y = 44.0 + ROW * i as f64;
        let colour = if row.ratio <= row.goal { "#3a7d44" } else { "#b5482a" };
        let _ = writeln!(
            svg,
            "<text x=\"{label}\" y=\"{base}\" text-anchor=\"end\">{name}</text>\n\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{bar:.1}\" height=\"18\" fill=\"{colour}\"/>\n\
             <line x1=\"{goal:.1}\" x2=\"{goal:.1}\" y1=\"{y0}\" y2=\"{y1}\" stroke=\"black\" stroke-width=\"2\"/>\n\
             <text x=\"{after:.1}\" y=\"{base}\">{ratio:.2}</text>",
            label = LEFT - 8.0,
            base = y + 14.0,
            name = row.name.replace('&', "&amp;").replace('<', "&lt;"),
            bar = x(row.ratio) - LEFT,
            goal = x(row.goal),
            y0 = y - 3.0,
            y1 = y + 21.0,
            after = x(row.ratio.max(row.goal)) + 6.0,
            ratio = row.ratio,
        );
    }
    svg.push_str("</svg>\n");
    svg
}
