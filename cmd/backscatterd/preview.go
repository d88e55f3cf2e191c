package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep"
)

// previews prints bounces that would be sent: of a message that was named alone
// as it is, of others as an mbox (RFC 4155). What is said of the messages then
// goes to stderr, so that stdout is mail and nothing else; but where there is no
// bounce, stdout says why.
type previews struct {
	app    *app
	stdout io.Writer
	mbox   bool
	n      int
}

// report runs something as app.report does.
func (p *previews) report(how telling, do func(emit func(queuesweep.Result)) (queuesweep.Summary, error)) error {
	var said bytes.Buffer
	p.stdout, p.app.out.Writer = p.app.out.Writer, &said
	err := p.app.report(how, do)
	p.app.out.Writer = p.stdout
	to := p.stdout
	if p.n > 0 {
		to = p.app.stderr
	}
	if _, werr := to.Write(said.Bytes()); err == nil {
		err = failed(werr)
	}
	return err
}

// print writes one bounce with line ends as files here have them.
func (p *previews) print(_ queuesweep.Result, write func(io.Writer) error) error {
	p.n++
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(write(pw)) }()
	defer pr.Close()
	lines := &lineFeeds{r: bufio.NewReader(pr)}
	if !p.mbox {
		_, err := io.Copy(p.stdout, lines)
		return err
	}
	return p.printQuoted(bufio.NewReader(lines))
}

// printQuoted writes a message of an mbox: a From line before it, an empty line
// after it, and a > before what could be taken for a From line.
func (p *previews) printQuoted(message *bufio.Reader) error {
	if _, err := fmt.Fprintf(p.stdout, "From MAILER-DAEMON %s\n", time.Now().UTC().Format(time.ANSIC)); err != nil {
		return err
	}
	for {
		line, err := message.ReadBytes('\n')
		if bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")) {
			line = append([]byte(">"), line...)
		}
		if err == io.EOF {
			line = append(line, '\n')
		}
		if _, err := p.stdout.Write(line); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
