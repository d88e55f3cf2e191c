// Package docs keeps README.md and docs/*.md true. Its tests run the commands
// that are shown there, in a copy of this machine that is thrown away, and read
// what else is shown with the programs that it is meant for.
//
// A block of code must say what it is:
//
//	sh       commands; each is run, and must end with status 0
//	console  commands behind "$ ", and what they print; both must be so
//	toml     a configuration, or a part of one; config check must accept it
//	m4       lines of sendmail.mc; sendmail must accept what becomes of them
//	json     a line of the audit log; it must have the fields of a real one
//	ini      a drop-in of systemd; our units must have its sections and keys
//	yaml     of Prometheus; it must name the address that the page configures
//	text     nothing that could be run or read; listed in lists_test.go
//
// Commands that cannot be run in a test are listed in lists_test.go with the
// reason. What they name of ours is looked at all the same: commands and flags of
// the program, units, targets of make. So is what the prose has in `backticks`,
// and every link within the repository.
//
// Each section below a heading of the second level begins anew, on a machine with
// the bundled queue in /var/spool/mqueue. BACKSCATTERD_WRITE=1 writes what
// commands of console blocks print into the pages, and the pictures anew.
package docs
