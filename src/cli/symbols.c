/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/symbols.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"

/* The table in the mapped file; count 0: none. */
static struct {
	const Elf64_Sym *symbols;
	size_t count;
	const char *strings;
	size_t strings_size;
	uintptr_t base; /* where the program was loaded */
} table;

static int find_base(struct dl_phdr_info *info, size_t size, void *base)
{
	(void)size;
	*(uintptr_t *)base = info->dlpi_addr; /* the program comes first */
	return 1;
}

/* Whether [offset, offset + size) lies in the file. */
static bool is_inside(size_t file_size, uint64_t offset, uint64_t size)
{
	return offset <= file_size && size <= file_size - offset;
}

static void find_table(const uint8_t *file, size_t file_size)
{
	const Elf64_Ehdr *head = (const void *)file;
	const Elf64_Shdr *sections;

	if (file_size < sizeof(*head) || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 ||
	    head->e_ident[EI_CLASS] != ELFCLASS64 || head->e_shentsize != sizeof(*sections) ||
	    !is_inside(file_size, head->e_shoff, head->e_shnum * sizeof(*sections)))
		return;
	sections = (const void *)(file + head->e_shoff);
	for (unsigned i = 0; i < head->e_shnum; i++) {
		const Elf64_Shdr *s = &sections[i];
		const Elf64_Shdr *strings;

		if (s->sh_type != SHT_SYMTAB || s->sh_link >= head->e_shnum)
			continue;
		strings = &sections[s->sh_link];
		if (!is_inside(file_size, s->sh_offset, s->sh_size) ||
		    !is_inside(file_size, strings->sh_offset, strings->sh_size) ||
		    strings->sh_size == 0)
			continue;
		table.symbols = (const void *)(file + s->sh_offset);
		table.count = s->sh_size / sizeof(*table.symbols);
		table.strings = (const char *)file + strings->sh_offset;
		table.strings_size = strings->sh_size;
		return;
	}
}

void symbols_open(void)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *file;

	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_size > 0) {
		/* Stays mapped: its pages are read when somebody asks for a name, if ever. */
		file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (file != MAP_FAILED)
			find_table(file, (size_t)st.st_size);
	}
	close(fd);
	dl_iterate_phdr(find_base, &table.base);
}

size_t symbols_name(uintptr_t address, char *out, size_t out_max)
{
	uint64_t at = address - table.base;
	size_t size = 0;

	assert(out_max > 0);
	for (size_t i = 0; i < table.count; i++) {
		const Elf64_Sym *s = &table.symbols[i];
		const char *name;

		if (ELF64_ST_TYPE(s->st_info) != STT_FUNC || at < s->st_value ||
		    at - s->st_value >= s->st_size || s->st_name >= table.strings_size)
			continue;
		name = &table.strings[s->st_name];
		while (size < out_max - 1 && name + size < table.strings + table.strings_size &&
		       name[size] != '\0') {
			out[size] = name[size];
			size++;
		}
		break;
	}
	out[size] = '\0';
	return size;
}
