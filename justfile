# Short names for the commands of CONTRIBUTING.md. `.ci/run` does not need just.

# The recipes, when none is named.
default:
    @just --list

# Format, dependencies, wording, links, layers, clippy with all features.
check:
    .ci/run check

# All tests, or those whose name contains NAME: `just test prices::`.
test *NAME:
    cargo test {{ if NAME == "" { "" } else { "--test it -- " + NAME } }}

# A benchmark: store, cache, series, trust, sweep or indexes.
bench NAME="store" *OPTIONS:
    cargo bench --bench {{ NAME }} -- {{ OPTIONS }}

# The documentation, with warnings as errors.
doc *OPTIONS:
    RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --all-features --locked {{ OPTIONS }}

# A fuzz target for some seconds: texts, documents, config_urls, price_files or cache_files.
fuzz TARGET="texts" SECONDS="60":
    mkdir -p target/corpus/{{ TARGET }}
    cargo fuzz run --dev --sanitizer none {{ TARGET }} target/corpus/{{ TARGET }} fuzz/corpus/{{ TARGET }} -- -max_total_time={{ SECONDS }} -timeout=20

# The lane for every change: check, and the tests of the library and of the repositories.
fast:
    .ci/run fast

# Everything that CI runs.
full:
    .ci/run full
