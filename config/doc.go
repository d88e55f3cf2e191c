// Package config reads the configuration file: TOML, strict, with a default
// for every key.
//
// What it promises:
//
//   - All mistakes of a file are reported at once, each with its place, the
//     line, a caret and what to do: unknown and misspelt keys, wrong types,
//     values that make no sense, conditions of rules, schedules.
//   - What it returns is complete: nobody behind it needs to know a default.
//   - Reading changes nothing, and looks at nothing but the file.
//
// All functions may be called concurrently; a Config is not to be changed once
// it is shared.
package config
