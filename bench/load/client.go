package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// client is a pool of keep-alive connections that speak just enough HTTP/1.1: one request at a time, answers with a
// Content-Length. net/http would cost more CPU per request than some of the servers measured here.
type client struct {
	host string
	free chan *connection
}

type connection struct {
	net.Conn
	reader *bufio.Reader
	out    []byte
}

type answer struct {
	status     int
	retryAfter time.Duration
	body       []byte
}

func newClient(host string, connections int) *client {
	c := &client{host: host, free: make(chan *connection, connections)}
	for i := 0; i < connections; i++ {
		c.free <- nil // dialled when it is first needed
	}
	return c
}

// send waits for a free connection, so a closed server shows as latency. A connection that fails is dialled anew.
func (c *client) send(ctx context.Context, head string, body []byte) (answer, error) {
	var conn *connection
	select {
	case conn = <-c.free:
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
	got, conn, err := c.exchange(ctx, conn, head, body)
	c.free <- conn
	return got, err
}

func (c *client) exchange(ctx context.Context, conn *connection, head string, body []byte) (answer, *connection, error) {
	if conn == nil {
		raw, err := net.DialTimeout("tcp", c.host, 5*time.Second)
		if err != nil {
			return answer{}, nil, err
		}
		conn = &connection{Conn: raw, reader: bufio.NewReaderSize(raw, 16<<10)}
	}
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	conn.out = append(append(conn.out[:0], head...), body...)
	if _, err := conn.Write(conn.out); err != nil {
		conn.Close()
		return answer{}, nil, err
	}
	got, keep, err := conn.read()
	if err != nil || !keep {
		conn.Close()
		conn = nil
	}
	return got, conn, err
}

func (c *connection) read() (got answer, keep bool, err error) {
	line, err := c.reader.ReadString('\n')
	if err != nil {
		return got, false, err
	}
	if len(line) < 12 {
		return got, false, fmt.Errorf("no status line: %q", line)
	}
	if got.status, err = strconv.Atoi(line[9:12]); err != nil {
		return got, false, err
	}
	length, keep := -1, true
	for {
		line, err = c.reader.ReadString('\n')
		if err != nil {
			return got, false, err
		}
		name, value, found := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if !found {
			break
		}
		switch value = strings.TrimSpace(value); strings.ToLower(name) {
		case "content-length":
			length, err = strconv.Atoi(value)
		case "retry-after":
			seconds, _ := strconv.ParseFloat(value, 64)
			got.retryAfter = time.Duration(seconds * float64(time.Second))
		case "connection":
			keep = !strings.EqualFold(value, "close")
		}
	}
	if length < 0 {
		return got, false, errors.New("an answer without Content-Length")
	}
	got.body = make([]byte, length)
	_, err = io.ReadFull(c.reader, got.body)
	return got, keep, err
}
