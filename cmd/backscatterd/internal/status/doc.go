// Package status shows what the daemon does: metrics for Prometheus, a page for
// people, and whether all is well.
//
// What it promises: it shows and never changes anything. A look costs no more
// than what was seen already; queues are read again in the background, and
// seldom. What comes from mail is escaped wherever it is shown, and is never a
// label of a metric. No page has a script, or loads anything from elsewhere.
package status
