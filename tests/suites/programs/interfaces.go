// What a Go program sees of interfaces: package net parses netlink itself.
package main

import (
	"fmt"
	"net"
	"sort"
	"strings"
)

func texts(all []net.Addr, err error) string {
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, a := range all {
		out = append(out, a.Network()+" "+a.String())
	}
	return strings.Join(out, ", ")
}

func main() {
	all, err := net.Interfaces()
	if err != nil {
		fmt.Println("interfaces:", err)
		return
	}
	for _, i := range all {
		fmt.Printf("interface %d: %s mtu %d flags %v address %v\n", i.Index, i.Name, i.MTU, i.Flags, i.HardwareAddr)
		fmt.Printf("addresses %s: %s\n", i.Name, texts(i.Addrs()))
		multicast, err := i.MulticastAddrs()
		var names []string
		for _, a := range multicast {
			names = append(names, a.String())
		}
		sort.Strings(names)
		fmt.Printf("multicast %s: %v %s\n", i.Name, err, strings.Join(names, " "))
		byName, err := net.InterfaceByName(i.Name)
		fmt.Printf("by name %s: %v %v\n", i.Name, err, byName.Index)
		byIndex, err := net.InterfaceByIndex(i.Index)
		fmt.Printf("by index %d: %v %v\n", i.Index, err, byIndex.Name)
	}
	fmt.Printf("all addresses: %s\n", texts(net.InterfaceAddrs()))
	_, err = net.InterfaceByName("absent")
	fmt.Println("absent:", err)
	_, err = net.InterfaceByIndex(77777)
	fmt.Println("no such index:", err)
}
