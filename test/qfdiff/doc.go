// Package qfdiff holds a test that compares the reader of control files with
// the real sendmail: what the reader takes, sendmail must take too.
package qfdiff
