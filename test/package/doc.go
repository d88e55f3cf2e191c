// Package packaging builds the Debian package and puts it to use on a machine
// of its own: Debian's systemd, dpkg and sendmail, booted in namespaces over a
// writable layer above this machine's files, without a network.
//
// It promises of the package that
//   - installing starts nothing and touches nothing of sendmail: not a file of
//     /etc/mail, not a process;
//   - an upgrade keeps a changed configuration, and goes on with what ran;
//   - removing keeps configuration, keys, ledger, audit log and removed mail, and
//     purging deletes no mail, wherever the configuration had it, and says where
//     it is;
//   - the steps of docs/install.md make a guarded sendmail, by its own m4 and make;
//   - units, manual pages and completions are accepted by the programs that read
//     them, and the units score as docs/install.md says.
//
// It never skips: where no namespaces can be had, or a program is missing, it
// fails and says what to do.
package packaging
