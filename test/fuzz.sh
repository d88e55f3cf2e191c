#!/bin/sh
# Runs every fuzz target of the project for a while: fuzz.sh [TIME], 10s each
# by default.
set -eu

time=${1:-10s}
go list -f '{{.ImportPath}} {{.Dir}}' ./... | while read -r package dir; do
	grep -hoE '^func (Fuzz[A-Za-z0-9_]+)' "$dir"/*_test.go 2>/dev/null | sed 's/^func //' | while read -r target; do
		echo "== $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package"
	done
done
