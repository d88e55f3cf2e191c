// Package qf reads and edits sendmail's queue control files (qf, hf and Qf).
//
// It is pure: bytes in, bytes out, no disk. What it promises:
//
//   - Parse is total. It takes any bytes, never panics, and either understands
//     a file whole or says at which line it does not. What sendmail itself
//     would set aside, and what is still being written, is an error here, so
//     that nobody acts on it.
//   - Nothing is lost. A line keeps its bytes; an edited file differs from the
//     old one only in the lines that the edit is about.
//
// The format follows readqf(), queueup() and fgetfolded() of sendmail 8.17.
package qf
