// Builds an image of Inspektor Gadget's with its own code: gadget-image NAME TAR GADGET_YAML (ARCH OBJECT)…
package main

import (
	"context"
	"log"
	"os"

	"github.com/inspektor-gadget/inspektor-gadget/pkg/oci"
)

func main() {
	image, tar, metadata, objects := os.Args[1], os.Args[2], os.Args[3], os.Args[4:]
	opts := &oci.BuildGadgetImageOpts{
		ObjectPaths:      map[string]*oci.ObjectPath{},
		MetadataPath:     metadata,
		ValidateMetadata: true,
		CreatedDate:      "2024-01-01T00:00:00Z",
	}
	for i := 0; i+1 < len(objects); i += 2 {
		opts.ObjectPaths[objects[i]] = &oci.ObjectPath{EBPF: objects[i+1]}
	}
	ctx := context.Background()
	if _, err := oci.BuildGadgetImage(ctx, opts, image); err != nil {
		log.Fatal(err)
	}
	if err := oci.ExportGadgetImages(ctx, tar, image); err != nil {
		log.Fatal(err)
	}
}
