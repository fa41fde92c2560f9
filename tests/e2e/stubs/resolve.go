// Go's own resolver: the IPv4 address of each name.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
)

func main() {
	resolver := net.Resolver{PreferGo: true}
	for _, name := range os.Args[1:] {
		found, err := resolver.LookupIP(context.Background(), "ip4", name)
		if err != nil {
			fmt.Println(name, "none")
		} else {
			fmt.Println(name, found[0])
		}
	}
}
