// Prints the HTTP status of each URL, from goroutines on several threads.
package main

import (
	"fmt"
	"net/http"
	"os"
	"sync"
)

func main() {
	answers := make([]string, len(os.Args)-1)
	var group sync.WaitGroup
	for i, url := range os.Args[1:] {
		group.Add(1)
		go func(i int, url string) {
			defer group.Done()
			answer, err := http.Get(url)
			if err != nil {
				answers[i] = err.Error()
				return
			}
			answer.Body.Close()
			answers[i] = fmt.Sprint(answer.StatusCode)
		}(i, url)
	}
	group.Wait()
	for _, answer := range answers {
		fmt.Println(answer)
	}
}
