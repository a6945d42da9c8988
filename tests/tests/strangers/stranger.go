// Asks Go's own transparency log code about heads and proofs of a Redress ledger.
//
// Standard input: {"vkey", "questions": [{"kind", "head", "old", "record", "index", "proof"}]}, bytes in base64.
// Standard output: a list of answers in the same order, empty where all holds, else what does not.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type question struct {
	Kind   string   `json:"kind"`
	Head   []byte   `json:"head"`
	Old    []byte   `json:"old"`
	Record []byte   `json:"record"`
	Index  int64    `json:"index"`
	Proof  [][]byte `json:"proof"`
}

// open returns size and root of a head that the log signed.
func open(head []byte, log note.Verifier) (int64, tlog.Hash, error) {
	var root tlog.Hash
	opened, err := note.Open(head, note.VerifierList(log))
	if err != nil {
		return 0, root, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != log.Name() || lines[3] != "" {
		return 0, root, fmt.Errorf("not the three lines of this log: %q", opened.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return 0, root, err
	}
	root, err = tlog.ParseHash(lines[2])
	return size, root, err
}

func hashes(raw [][]byte) ([]tlog.Hash, error) {
	var all []tlog.Hash
	for _, one := range raw {
		var hash tlog.Hash
		if len(one) != len(hash) {
			return nil, fmt.Errorf("a hash of %d bytes", len(one))
		}
		copy(hash[:], one)
		all = append(all, hash)
	}
	return all, nil
}

func answer(q question, log note.Verifier) error {
	size, root, err := open(q.Head, log)
	if err != nil {
		return err
	}
	proof, err := hashes(q.Proof)
	if err != nil {
		return err
	}
	switch q.Kind {
	case "open":
		return nil
	case "record":
		return tlog.CheckRecord(proof, size, root, q.Index, tlog.RecordHash(q.Record))
	case "tree":
		oldSize, oldRoot, err := open(q.Old, log)
		if err != nil {
			return err
		}
		return tlog.CheckTree(proof, size, root, oldSize, oldRoot)
	}
	return fmt.Errorf("an unknown question: %q", q.Kind)
}

func main() {
	var asked struct {
		Vkey      string     `json:"vkey"`
		Questions []question `json:"questions"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	log, err := note.NewVerifier(asked.Vkey)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	answers := []string{}
	for _, q := range asked.Questions {
		text := ""
		if err := answer(q, log); err != nil {
			text = err.Error()
		}
		answers = append(answers, text)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}
