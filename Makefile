# artery: the revenue loop of a service business inside PostgreSQL.
#
#   make demo               the whole loop on a throwaway cluster, from nothing
#   make demo DATA=ads.csv  budgets for a real export of ads
#   make test               every test; ends with 'N passed, N failed'
#   make test T=pattern     those whose name contains it: T=regress/click, T=t/
#   make bench              speed as ratios measured side by side in one run
#   make bench-scale        attribution, COPY and retention at 1 and 10 million clicks
#   make bench-attribution  how true attribution is, on simulated traffic
#   make bench-allocation   what decisions earn on a simulated market
#   make readme             bring the generated parts of README.md up to date
#   make, make install, make installcheck      plain PGXS

EXTENSION = artery
EXTVERSION = 1.0
MODULE_big = artery

OBJS = $(sort $(patsubst %.c,%.o,$(wildcard src/*.c src/*/*.c)))

# The parts of the install script, in the order of the flow. A stem names the
# same capability here, in src/ and in test/.
STEMS = schema clock object tenant stage click click_partition identity attribution calibration deal late_click merge webhook \
	ad funnel progress allocation alert guard owner change constraint proposal replay shadow approval throttle meta sync account job contact_fetch dna schedule privacy health retention
TABLES = $(wildcard $(STEMS:%=sql/tables/%.sql))
CODE = $(wildcard $(STEMS:%=sql/code/%.sql))
PARTS = sql/header.sql $(TABLES) $(CODE) sql/security.sql sql/dump.sql

DATA_built = sql/$(EXTENSION)--$(EXTVERSION).sql
DATA = $(filter-out $(DATA_built),$(wildcard sql/$(EXTENSION)--*.sql))

PG_CPPFLAGS = -Isrc $(shell curl-config --cflags 2>/dev/null)
# 'make WERROR=' builds with a compiler that warns of what ours does not.
WERROR = -Werror
PG_CFLAGS = -std=gnu11 -Wall -Wextra $(WERROR) -Wno-unused-parameter
SHLIB_LINK = -lm -lcurl -lcrypto -lpcre2-8 -lyaml

REGRESS = $(sort $(patsubst test/sql/%.sql,%,$(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test --outputdir=. --load-extension=artery
ISOLATION = $(sort $(patsubst test/specs/%.spec,%,$(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test --outputdir=. --load-extension=artery
EXTRA_CLEAN = results output_iso tmp_check tmp_check_iso log regression.diffs regression.out

# demo, test and bench install what is missing themselves, PostgreSQL included,
# so they must work before there is a pg_config.
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(and $(PGXS),$(wildcard $(PGXS))),)
include $(PGXS)
else
all install installcheck clean:
	@echo "PostgreSQL's server headers are not here: install postgresql-server-dev-15 or name another PG_CONFIG;" \
		"'make demo' and 'make test' install them themselves." >&2; false
endif

$(OBJS): $(wildcard src/*.h src/*/*.h)

# A fresh install creates: were a name already taken by somebody, it must fail
# rather than replace, so OR REPLACE is for update scripts only.
$(DATA_built): $(PARTS) Makefile
	cat $(PARTS) | sed -e 's/^CREATE OR REPLACE /CREATE /' > $@

# DATA on the command line is the demo's; else it is PGXS's word for files to
# install.
.PHONY: demo test bench bench-scale bench-attribution bench-allocation readme
demo: export ARTERY_DEMO_DATA = $(if $(filter command,$(origin DATA)),$(DATA))
demo test bench:
	@setup/$@.sh

bench-scale:
	@HUGE_PAGES="$${HUGE_PAGES:-2200}" ARTERY_EXTRA_CONF="shared_buffers = '$${SHARED_BUFFERS:-4GB}'" BENCH=bench/scale/scale.sh setup/bench.sh

bench-attribution:
	@BENCH=bench/attribution/judge.sh setup/bench.sh

bench-allocation: export ARTERY_BENCH_DATA = $(if $(filter command,$(origin DATA)),$(DATA))
bench-allocation:
	@BENCH=bench/allocation.sh setup/bench.sh

readme:
	@setup/cluster.sh start && eval "$$(setup/cluster.sh env)" && setup/readme.sh update
