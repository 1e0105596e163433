"""What is wrong with a cluster, found offline; each module looks at one part of the section."""
