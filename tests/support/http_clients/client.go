// Go's own client, with its defaults.
package main

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
)

func main() {
	base := os.Args[1]
	json := strings.NewReader(`{"model":"openai/m","input":"a text"}`)
	submit, err := http.Post(base+"/v1/async/embeddings", "application/json", json)
	check(err)
	poll, err := http.Get(base + submit.Header.Get("location"))
	check(err)
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	check(form.WriteField("model", "openai/m"))
	file, err := form.CreateFormFile("image", "a.png")
	check(err)
	_, err = file.Write([]byte{1, 2})
	check(err)
	check(form.Close())
	// A reader of unknown length is sent in chunks.
	upload, err := http.Post(base+"/v1/async/images/variations", form.FormDataContentType(), io.MultiReader(&body))
	check(err)
	fmt.Println(submit.StatusCode, poll.StatusCode, upload.StatusCode)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
